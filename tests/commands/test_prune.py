"""`allennlp prune` on a tiny archive."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel

from sledgehammer.analysis.all_exits import fingerprints, run_all_exits
from sledgehammer.calibration import fit_temperatures
from sledgehammer.commands.calibrate import Calibrate
from sledgehammer.commands.prune import REPORT, Prune
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import open_archive
from sledgehammer.training.pruning import shapes
from tests.cli import allennlp, refused, run_command
from tests.conftest import FIXTURES, TINY_BERT
from tests.tiny_training import DEV, load, train

TRAIN = str(FIXTURES / "sst/train.txt")
HALF = ["--heads", "0.5", "--width", "0.25"]


def report_in(archive: Path) -> Dict[str, Any]:
    with tarfile.open(archive) as tar:
        return json.load(tar.extractfile(REPORT))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pruned(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny archive with half of the heads and a quarter of the width. Not to be changed."""
    target = tmp_path_factory.mktemp("pruned") / "small.tar.gz"
    run_command(Prune(), str(tiny_archive), TRAIN, "-o", str(target), *HALF)
    return target


def test_new_archive_is_smaller_and_calibrated(tiny_archive: Path, pruned: Path) -> None:
    old, new = open_archive(str(tiny_archive)), open_archive(str(pruned))
    assert {tuple(shape) for shape in shapes(old.model.encoder)} == {(2, 32)}
    found = shapes(new.model.encoder)
    assert [shape.units for shape in found] == [8] * 4
    assert [shape.heads for shape in found] == [1] * 4
    count = [sum(p.numel() for p in either.model.parameters()) for either in (old, new)]
    report = report_in(pruned)
    assert report["parameters"] == {"before": count[0], "after": count[1]}
    assert report["validation"] == DEV and report["validation_rows"] == 5
    assert set(report["accuracy"]["3"]) == {"before", "after pruning", "after fine-tuning"}
    outputs = run_all_exits(new.model, new.reader, read_rows(new.reader, DEV))
    assert outputs.label is not None
    fitted = fit_temperatures(outputs.logits, outputs.label)
    assert new.model.temperatures.tolist() == pytest.approx(fitted, rel=1e-4)
    assert sorted(new.model.seen.temperatures.tolist()) == sorted(outputs.hashes.tolist())
    accuracy = (outputs.logits.argmax(-1) == outputs.label[:, None]).float().mean(0).tolist()
    assert [report["accuracy"][e]["after fine-tuning"] for e in ("0", "2", "3")] == accuracy
    assert new.model.full_layers == 4
    learned = fingerprints(new.reader, read_rows(new.reader, TRAIN))
    assert new.model.seen.weights.tolist() == sorted(learned.tolist())


def test_old_archive_stays_and_tables_are_printed(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target, report = tmp_path / "new.tar.gz", tmp_path / "report.json"
    before = tiny_archive.read_bytes()
    run_command(
        Prune(), str(tiny_archive), TRAIN, "-o", str(target), "--width", "0.5", "--epochs", "0",
        "--validation", TRAIN, "--report", str(report),
    )  # fmt: skip
    assert tiny_archive.read_bytes() == before
    printed = capsys.readouterr()
    assert "16 of 32" in printed.out and "2 of 2" in printed.out
    assert "parameters: " in printed.out and "after fine-tuning" not in printed.out
    assert f"new archive: {target}" in printed.out
    assert "validation rows are among the training rows" in printed.err
    assert json.loads(report.read_text()) == report_in(target)
    assert len(report_in(target)["warnings"]) == 1


def test_its_rows_count_as_training_rows_and_a_choice_no_longer_stands(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    held_out, chosen = str(FIXTURES / "sst/held_out.txt"), str(tmp_path / "chosen.tar.gz")
    run_command(
        TradeoffCommand(), str(tiny_archive), TRAIN, "--min-speedup", "1", "--write", chosen
    )
    target = tmp_path / "new.tar.gz"
    run_command(Prune(), chosen, held_out, "-o", str(target), "--width", "0.5", "--epochs", "0")
    assert "with other weights and other temperatures" in capsys.readouterr().err
    assert len(open_archive(str(target)).model.seen.weights) == 9 + 9


def test_fine_tuning_trains_every_weight(tiny_archive: Path, tmp_path: Path) -> None:
    models = []
    for epochs in ("0", "2"):
        target = tmp_path / f"{epochs}.tar.gz"
        run_command(
            Prune(), str(tiny_archive), TRAIN, "-o", str(target), *HALF, "--epochs", epochs,
            "--learning-rate", "0.01",
        )  # fmt: skip
        models.append(open_archive(str(target)).model)
    tuned = dict(models[1].named_parameters())
    for name, weight in models[0].named_parameters():
        assert weight.shape == tuned[name].shape
        assert not torch.equal(weight, tuned[name]), name


@pytest.mark.parametrize("epochs, at_once", [("1", True), ("2", False)])
@pytest.mark.parametrize("name", ["two_stage", "self_distillation"])
def test_fine_tuning_in_stages_trains_every_exit(
    tiny_archive: Path, tmp_path: Path, name: str, epochs: str, at_once: bool
) -> None:
    given = [str(tiny_archive), TRAIN, *HALF, "--learning-rate", "0.01",
             "--overrides", json.dumps({"model.objective": {"type": name}})]  # fmt: skip
    models = []
    for count in ("0", epochs):
        target = tmp_path / f"{count}.tar.gz"
        run_command(Prune(), *given, "-o", str(target), "--epochs", count)
        models.append(open_archive(str(target)).model)
    tuned = dict(models[1].named_parameters())
    for part, weight in models[0].named_parameters():
        assert not torch.equal(weight, tuned[part]), part
    warnings = report_in(tmp_path / f"{epochs}.tar.gz")["warnings"]
    assert any("all exits were trained at once" in warning for warning in warnings) == at_once


def test_everything_else_takes_it(
    pruned: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    metrics = str(tmp_path / "metrics.json")
    done = allennlp("evaluate", str(pruned), DEV, "--output-file", metrics)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in json.loads((tmp_path / "metrics.json").read_text())
    run_command(TradeoffCommand(), str(pruned), DEV, "--thresholds", "0.5", "1")
    run_command(
        Calibrate(), str(pruned), TRAIN, "-o", str(tmp_path / "calibrated.tar.gz"), "--few-rows"
    )
    calibrated = open_archive(str(tmp_path / "calibrated.tar.gz")).model
    assert shapes(calibrated.encoder) == shapes(open_archive(str(pruned)).model.encoder)
    less = tmp_path / "less.tar.gz"
    run_command(Prune(), str(pruned), TRAIN, "-o", str(less), "--width", "0.5")
    assert [s.units for s in shapes(open_archive(str(less)).model.encoder)] == [4] * 4


def test_it_can_be_trained_on(pruned: Path, tmp_path: Path) -> None:
    metrics = train(tmp_path / "run", model={"type": "from_archive", "archive_file": str(pruned)})
    assert metrics["best_validation_exit_3_temperature"] > 0
    trained = load(tmp_path / "run")
    before = open_archive(str(pruned)).model
    assert shapes(trained.encoder) == shapes(before.encoder)
    assert not torch.equal(trained.exits[0].linear.weight, before.exits[0].linear.weight)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_engines_give_its_logits(pruned: Path, tmp_path: Path, runtime: str) -> None:
    for needed in ("onnx", "onnxruntime", runtime):
        pytest.importorskip(needed)
    from sledgehammer.export.directory import Format, export

    opened = open_archive(str(pruned))
    export(str(pruned), opened, Format(runtime, "fp32"), tmp_path)
    rows = read_rows(opened.reader, DEV)
    expected, got = (run_all_exits(*o, rows) for o in (opened, open_archive(str(tmp_path))))
    torch.testing.assert_close(got.logits, expected.logits, rtol=1e-4, atol=1e-4)
    if runtime == "onnx":
        int8 = tmp_path / "int8"
        int8.mkdir()
        export(str(pruned), opened, Format(runtime, "int8"), int8)
        assert run_all_exits(*open_archive(str(int8)), rows).logits.isfinite().all()


def test_distilled_backbone_from_training_to_engine(tmp_path: Path) -> None:
    backbone = tmp_path / "distilbert"
    shutil.copytree(TINY_BERT, backbone)
    config = DistilBertConfig(vocab_size=169, dim=16, n_layers=4, n_heads=2, hidden_dim=32)
    DistilBertModel(config).save_pretrained(backbone)
    train(tmp_path / "run", dataset_reader__model_name=str(backbone))
    small = tmp_path / "small.tar.gz"
    archive = str(tmp_path / "run/model.tar.gz")
    run_command(Prune(), archive, TRAIN, "-o", str(small), *HALF)
    shutil.rmtree(backbone)
    opened = open_archive(str(small))
    assert {tuple(shape) for shape in shapes(opened.model.encoder)} == {(1, 8)}
    for needed in ("onnx", "onnxruntime"):
        pytest.importorskip(needed)
    from sledgehammer.export.directory import Format, export

    (tmp_path / "engine").mkdir()
    export(str(small), opened, Format("onnx", "fp32"), tmp_path / "engine")


def test_held_out_part_is_the_default_validation(tiny_archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.tar.gz"
    run_command(
        Prune(), str(tiny_archive), f"{TRAIN}#train", "-o", str(target), *HALF, "--epochs", "0",
        "--overrides", '{"dataset_reader.validation_size": 3}',
    )  # fmt: skip
    report = report_in(target)
    assert report["validation"] == f"{TRAIN}#validation" and report["validation_rows"] == 3
    assert report["warnings"] == []


def test_json_lines_and_a_callback_that_nobody_knows(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    lines = tmp_path / "rows.jsonl"
    rows: List[Dict[str, str]] = [
        {"text": "a joy", "label": "positive"},
        {"text": "a bore", "label": "negative"},
    ]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_command(
        Prune(), str(tiny_archive), str(lines), "-o", str(tmp_path / "new.tar.gz"), *HALF,
        "--json-lines", "--overrides",
        '{"trainer.callbacks": ["sledgehammer_calibration", "their_bar"]}',
    )  # fmt: skip
    said = "the trainer callback 'their_bar' is not registered here: left out"
    assert said in capsys.readouterr().err
    report = report_in(tmp_path / "new.tar.gz")
    assert report["rows"] == 2 and report["validation"] == DEV


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.tar.gz", TRAIN, "-o", "{tmp}/new", *HALF], "no archive at 'missing.tar.gz'"),
        (["{archive}", "missing.txt", "-o", "{tmp}/new", *HALF], "no data at 'missing.txt'"),
        (["{archive}", TRAIN, "-o", "{archive}", "--force", *HALF], "is the old archive"),
        (["{archive}", TRAIN, "-o", "{tmp}/there", *HALF], "exists: give another name, or --force"),
        (["{archive}", "{tmp}/there", "-o", "{tmp}/new", *HALF], "no rows in"),
        (["{archive}", TRAIN, "-o", "{tmp}/new"], "nothing to remove"),
        (["{archive}", TRAIN, "-o", "{tmp}/new", *HALF, "--report", "x"], "must end in one of"),
        (
            ["{archive}", TRAIN, "-o", "{tmp}/new", *HALF, "--validation", "missing.txt"],
            "no data at 'missing.txt'",
        ),
        (
            ["{archive}", TRAIN, "-o", "{tmp}/new", *HALF,
             "--overrides", '{"validation_data_path": "gone.txt"}'],
            "the archive's own validation data: no data at 'gone.txt'",
        ),
        (
            ["{archive}", TRAIN, "-o", "{tmp}/new", *HALF,
             "--overrides", '{"validation_data_path": null}'],
            "give --validation DATA",
        ),
        (
            ["{archive}", TRAIN, "-o", "{tmp}/new", *HALF,
             "--overrides", '{"trainer.optimizer.type": "none_such"}'],
            "none_such",
        ),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line_and_write_nothing(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: List[str],
    message: str,
) -> None:
    (tmp_path / "there").write_text("")
    filled = [
        a.replace("{tmp}", str(tmp_path)).replace("{archive}", str(tiny_archive)) for a in arguments
    ]
    assert message in refused(Prune(), capsys, *filled)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == ""


@pytest.mark.parametrize("value", ["0", "1.5", "nan", "-0.5", "x"])
@pytest.mark.parametrize("option", ["--heads", "--width"])
def test_shares_are_above_zero_and_at_most_one(
    option: str, value: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(Prune(), "archive", "data", "-o", "new", f"{option}={value}")
    assert caught.value.code == 2
    assert option in capsys.readouterr().err


def test_exported_models_are_refused(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [str(tiny_engine), TRAIN, "-o", str(tmp_path / "new"), *HALF]
    assert "is an exported model" in refused(Prune(), capsys, *arguments)
