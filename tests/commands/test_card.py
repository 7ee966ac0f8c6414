"""Cards of archives and exported models, written by what makes them and by `card`."""

import dataclasses
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from sledgehammer.commands.calibrate import Calibrate
from sledgehammer.commands.card import Card
from sledgehammer.engine.manifest import CARD
from sledgehammer.hub import card_cli
from sledgehammer.model.archive_files import read_member
from sledgehammer.model.archive_writing import write_changed
from sledgehammer.model.archives import open_archive
from tests.cli import refused, run_command
from tests.conftest import FIXTURES

TRAIN = str(FIXTURES / "sst/train.txt")


def card_of(archive: Path) -> str:
    return read_member(str(archive), CARD).decode()


def test_training_writes_a_card_into_folder_and_archive(tiny_archive: Path) -> None:
    text = card_of(tiny_archive)
    assert (tiny_archive.parent / CARD).read_text() == text
    model = open_archive(str(tiny_archive)).model
    assert "`train.txt`, read by `sledgehammer_sst`: 9 different texts" in text
    for layer, temperature in zip(model.exit_layers, model.temperatures.tolist()):
        assert f"| {layer} | {temperature:.3f} |" in text
    metrics = json.loads((tiny_archive.parent / "metrics.json").read_text())
    data = huggingface_hub.ModelCard(text).data.to_dict()
    (metric,) = data["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == metrics["best_validation_exit_3_accuracy"]


def test_a_changed_archive_has_its_own_card(tiny_archive: Path, tmp_path: Path) -> None:
    new = tmp_path / "calibrated.tar.gz"
    run_command(Calibrate(), str(tiny_archive), TRAIN, "-o", str(new), "--few-rows")
    model = open_archive(str(new)).model
    assert f"| 0 | {model.temperatures[0]:.3f} |" in card_of(new)
    assert "# calibrated\n" in card_of(new) and "fitted on 9 rows" in card_of(new)
    with tarfile.open(new) as tar:
        names = tar.getnames()
    assert names.count(CARD) == 1 and "metrics.json" in names


def test_figures_of_other_weights_are_dropped(tiny_archive: Path, tmp_path: Path) -> None:
    state = open_archive(str(tiny_archive)).model.state_dict()
    name = next(n for n, t in state.items() if n.startswith("exits") and t.is_floating_point())
    write_changed(str(tiny_archive), tmp_path / "a.tar.gz", {name: state[name] + 1})
    assert "model-index" not in card_of(tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert "metrics.json" not in tar.getnames()
    write_changed(str(tiny_archive), tmp_path / "b.tar.gz", {name: state[name]})
    assert "model-index" in card_of(tmp_path / "b.tar.gz")
    write_changed(str(tiny_archive), tmp_path / "c.tar.gz", {}, dtype="bfloat16")
    assert "Answers in bfloat16." in card_of(tmp_path / "c.tar.gz")


def test_an_edited_card_travels_with_the_archive(
    tiny_archive: Path, tmp_path: Path, capsys: Any
) -> None:
    edited = tmp_path / "edited.tar.gz"
    write_changed(str(tiny_archive), edited, {}, extra={CARD: b"Mine.\n"})
    write_changed(str(edited), tmp_path / "copy.tar.gz", {"temperatures": torch.ones(3)})
    assert card_of(tmp_path / "copy.tar.gz") == "Mine.\n"
    assert "was edited: --force replaces it" in refused(Card(), capsys, edited)
    assert card_of(edited) == "Mine.\n"
    run_command(Card(), str(edited), "--force", "--language", "en")
    data = huggingface_hub.ModelCard(card_of(edited)).data
    assert data.language == ["en"]
    assert open_archive(str(edited)).model.exit_layers == [0, 2, 3], "the archive is whole"


def test_the_card_of_a_run_is_renewed_in_folder_and_archive(
    tiny_archive: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.tar.gz", CARD):
        shutil.copy(tiny_archive.parent / name, run / name)
    run_command(Card(), str(run), "--license", "mit")
    assert "license: mit" in card_of(run / "model.tar.gz")
    assert (run / CARD).read_text() == card_of(run / "model.tar.gz")
    assert "# run\n" in card_of(run / "model.tar.gz")


def test_the_card_of_an_exported_model(tiny_engine: Path, tmp_path: Path, capsys: Any) -> None:
    copy = Path(shutil.copytree(tiny_engine, tmp_path / "reviews"))
    assert card_cli.main([str(copy), "--dataset", "ag_news"]) == 0
    text = (copy / CARD).read_text()
    assert "Exported for onnx in fp32." in text and "# reviews\n" in text
    assert "datasets:\n- ag_news\n" in text
    (copy / CARD).write_text(text + "More.\n")
    assert card_cli.main([str(copy)]) == 1
    assert "was edited: --force replaces it" in capsys.readouterr().err
    (copy / "segments/exit_0.onnx").write_bytes(b"")
    assert card_cli.main([str(copy), "--force"]) == 1
    assert "is damaged: segments/exit_0.onnx" in capsys.readouterr().err
    assert (copy / CARD).read_text() == text + "More.\n"
    assert card_cli.main([str(tmp_path)]) == 1
    assert "no archive at" in capsys.readouterr().err
    assert card_cli.main([]) == 2


def test_exports_and_their_copies_have_cards(
    tiny_archive: Path, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("onnxruntime")
    from sledgehammer.commands.export import ExportCommand
    from sledgehammer.commands.tradeoff import TradeoffCommand

    dev = str(FIXTURES / "sst/dev.txt")
    run_command(ExportCommand(), str(tiny_archive), str(tmp_path / "e"), "--verify", dev)
    text = (tmp_path / "e" / CARD).read_text()
    assert "Against the archive, on 5 rows: 100.00% of the labels" in text
    assert "Measured on 5 rows of `dev.txt`" in text and "5 of them also fitted the" in text
    wish = ["--max-accuracy-drop", "0.9", "--write"]
    run_command(TradeoffCommand(), str(tmp_path / "e"), dev, *wish, str(tmp_path / "chosen"))
    chosen = (tmp_path / "chosen" / CARD).read_text()
    assert "# chosen\n" in chosen and "Chosen for `max_accuracy_drop 0.9`, on 5 rows" in chosen
    assert "Against the archive" not in chosen, "that held for the old policy"
    (tmp_path / "e" / CARD).write_text("Mine.\n")
    run_command(TradeoffCommand(), str(tmp_path / "e"), dev, *wish, str(tmp_path / "kept"))
    assert (tmp_path / "kept" / CARD).read_text() == "Mine.\n"


def test_speed_is_told_for_the_setting_it_was_measured_at(
    tiny_engine: Path, tmp_path: Path
) -> None:
    from sledgehammer.cards.of_engine import facts_of_engine
    from sledgehammer.engine.manifest import EngineError, read
    from sledgehammer.engine.speed import SPEED, Speed

    copy = Path(shutil.copytree(tiny_engine, tmp_path / "e"))
    manifest = read(copy)
    Speed(9, 0.1, 0.2, manifest.policy["threshold"], {}).save(copy)
    assert facts_of_engine(copy, manifest).speed == Speed(9, 0.1, 0.2, 0.9, {})
    other = dataclasses.replace(manifest, policy={"type": "confidence", "threshold": 0.5})
    assert facts_of_engine(copy, other).speed is None
    (copy / SPEED).write_text('{"texts": 1}')
    with pytest.raises(EngineError, match="is damaged"):
        facts_of_engine(copy, manifest)
