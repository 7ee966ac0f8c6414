import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sledgehammer import engine
from sledgehammer.commands import export as module
from sledgehammer.commands import export_choice
from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.export_verification import BATCHES
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.engine.manifest import write
from sledgehammer.model.archives import open_archive
from tests.cli import refused, run_command
from tests.conftest import FIXTURES

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")
DEV = str(FIXTURES / "sst/dev.txt")
TRAIN = str(FIXTURES / "sst/train.txt")
HELD_OUT = str(FIXTURES / "sst/held_out.txt")


def run(*arguments: Any) -> None:
    run_command(ExportCommand(), *map(str, arguments))


def test_an_export_answers(tiny_archive: Path, tmp_path: Path) -> None:
    run(tiny_archive, tmp_path / "fp32")
    (answer,) = engine.load(tmp_path / "fp32").predict(["Fine."], threshold=0.0)
    assert answer["exit_layer"] == 0
    assert sum(answer["probs"].values()) == pytest.approx(1.0)


def test_what_int8_changes_is_printed_and_stored(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_archive, tmp_path / "int8", "--precision", "int8", "--verify", DEV)
    printed = capsys.readouterr().out
    kept = json.loads((tmp_path / "int8/verification.json").read_text())
    assert f"{kept['labels']:.2%}" in printed
    assert f"{kept['exits']:.2%}" in printed
    assert kept["rows"] == 5
    assert 0 < kept["probability_difference"] < 0.2
    assert kept["accuracy_change"] == pytest.approx(
        (kept["only_other_right"] - kept["only_reference_right"]) / 5
    )
    found = engine.load(tmp_path / "int8").manifest  # and the directory is whole with it
    assert (found.precision, found.activation_scales) == ("int8", "token")


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_whether_neighbours_change_an_answer_is_printed(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    run(tiny_archive, tmp_path / "engine", "--precision", precision, "--verify", DEV)
    printed = capsys.readouterr().out
    verification = json.loads((tmp_path / "engine/verification.json").read_text())
    kept = verification["alone_against_batches"]
    assert kept["batches"] == BATCHES and kept["rows"] > BATCHES
    if precision == "int8":
        assert (kept["labels"], kept["exits"], kept["probabilities"]) == (0, 0, 0)
        assert kept["probability_difference"] < 1e-5
        assert "a text's answer does not depend on its neighbours" in printed
    else:
        assert kept["probability_difference"] > 1e-4
        assert engine.load(tmp_path / "engine").manifest.activation_scales == "batch"


def test_the_fastest_precision_is_chosen_and_its_times_are_kept(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_archive, tmp_path / "engine", "--precision", "auto")
    manifest = engine.load(tmp_path / "engine").manifest
    timings = manifest.timings
    assert set(timings["precisions"]) == {"fp32", "int8"}  # int8-dynamic is never chosen for anyone
    assert manifest.precision == timings["chosen"]
    for found in timings["precisions"].values():
        assert found["single"] > 0 and found["batch"] > 0
    assert timings["precisions"]["fp32"]["times_as_fast"] == 1.0
    assert timings["machine"]["cores"] >= 1
    assert f"chosen: {manifest.precision}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


@pytest.mark.parametrize(
    "times_as_fast, chosen",
    [
        ({"fp32": 1.0, "int8": 1.04}, "fp32"),
        ({"fp32": 1.0, "int8": 1.06}, "int8"),
        ({"fp32": 1.0, "bf16": 1.6, "int8": 1.5}, "bf16"),
        ({"fp32": 1.0}, "fp32"),
    ],
)
def test_what_is_hardly_faster_is_not_worth_it(
    times_as_fast: "dict[str, float]", chosen: str
) -> None:
    assert export_choice.fastest(times_as_fast) == chosen


def test_ranges_make_openvinos_int8_a_candidate() -> None:
    for with_ranges, expected in ((False, ["fp32", "bf16"]), (True, ["fp32", "bf16", "int8"])):
        formats = export_choice.candidates_of("openvino", with_ranges)
        assert [format.precision for format in formats] == expected


def test_float32_changes_nothing(tiny_archive: Path, tmp_path: Path) -> None:
    run(tiny_archive, tmp_path / "fp32", "--verify", DEV)
    kept = json.loads((tmp_path / "fp32/verification.json").read_text())
    assert kept["labels"] == kept["exits"] == 1.0
    assert kept["accuracy_change"] == 0.0


def test_temperatures_are_fitted_to_the_exported_exits(tiny_archive: Path, tmp_path: Path) -> None:
    run(tiny_archive, tmp_path / "old")
    run(tiny_archive, tmp_path / "new", "--precision", "int8", "--recalibrate", TRAIN, "--few-rows")
    old, new = (engine.load(tmp_path / name).manifest for name in ("old", "new"))
    assert old.temperatures != new.temperatures
    seen = json.loads((tmp_path / "new/seen.json").read_text())
    assert len(seen["temperatures"]) == 9


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--precision", "bf16"], "onnx has no bf16"),
        (["--format", "openvino", "--precision", "int8"], "give --ranges DATA"),
        (["--verify", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: "list[str]",
    message: str,
) -> None:
    pytest.importorskip("openvino")
    error = refused(ExportCommand(), capsys, tiny_archive, tmp_path / "new", *arguments)
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_targets_are_not_overwritten_by_accident(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "engine"
    run(tiny_archive, target)
    first = json.loads((target / "engine.json").read_text())
    assert "--force" in refused(ExportCommand(), capsys, tiny_archive, target)
    run(tiny_archive, target, "--force", "--precision", "int8")
    assert json.loads((target / "engine.json").read_text())["precision"] == "int8"
    assert first["precision"] == "fp32"
    other = tmp_path / "other"
    other.mkdir()
    assert "not an exported model" in refused(
        ExportCommand(), capsys, tiny_archive, other, "--force"
    )
    assert "no folder" in refused(ExportCommand(), capsys, tiny_archive, tmp_path / "no/such")


def test_an_export_of_an_export_is_refused(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_archive, tmp_path / "engine")
    error = refused(ExportCommand(), capsys, tmp_path / "engine", tmp_path / "again")
    assert "exported already" in error


@pytest.mark.parametrize(
    "interruption, raised", [(KeyboardInterrupt, SystemExit), (RuntimeError, RuntimeError)]
)
def test_an_interrupted_export_leaves_nothing(
    tiny_archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interruption: Any,
    raised: Any,
) -> None:
    """Check that the old engine stays, with no unfinished one beside it."""
    target = tmp_path / "engine"
    run(tiny_archive, target)
    before = (target / "engine.json").read_bytes()

    def half(*arguments: Any) -> None:
        folder: Path = arguments[3]
        (folder / "segments").mkdir()
        raise interruption

    monkeypatch.setattr(module, "export", half)
    with pytest.raises(raised) as caught:
        run(tiny_archive, target, "--force")
    assert getattr(caught.value, "code", 130) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    assert (target / "engine.json").read_bytes() == before


def test_an_export_carries_the_rows_and_the_choice(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    chosen = tmp_path / "chosen.tar.gz"
    wish = ["--max-inconsistency", "0.9", "--delta", "0.5", "--write", str(chosen)]
    run_command(TradeoffCommand(), str(tiny_archive), HELD_OUT, *wish)
    run(chosen, tmp_path / "fp32")
    assert "no longer stands" not in capsys.readouterr().err
    opened = open_archive(str(tmp_path / "fp32"))
    assert opened.model.choice is not None and opened.model.choice_problem() is None
    assert opened.model.seen.as_lists() == open_archive(str(chosen)).model.seen.as_lists()
    assert len(opened.model.seen.weights) == 9
    for name, options, change in (
        ("int8", ["--precision", "int8"], "the number format float32, not onnx int8"),
        ("new", ["--recalibrate", TRAIN, "--few-rows"], "other temperatures"),
    ):
        run(chosen, tmp_path / name, *options)
        message = f"with {change}: the choice no longer stands, and its guarantee"
        assert message in capsys.readouterr().err
        caplog.clear()
        kept = open_archive(str(tmp_path / name)).model
        assert message in caplog.text
        assert len(kept.seen.weights) == 9 and len(kept.seen.threshold) == 9


def test_a_threshold_chosen_for_recalibrated_exits_is_written_beside_them(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine's temperatures and the rows that fitted them stay with its threshold."""
    engine_folder, new = tmp_path / "int8", tmp_path / "new"
    run(tiny_archive, engine_folder, "--precision", "int8", "--recalibrate", DEV, "--few-rows")
    run_command(
        TradeoffCommand(), str(tiny_archive), HELD_OUT, "--engine", str(engine_folder),
        "--max-inconsistency", "0.9", "--delta", "0.5", "--write", str(new),
    )  # fmt: skip
    old, made = engine.load(engine_folder), engine.load(new)
    assert made.manifest.temperatures == old.manifest.temperatures
    assert made.choice is not None and made.choice_problem() is None
    assert made.choice.conditions.number_format == "onnx int8"
    seen = json.loads((new / "seen.json").read_text())
    assert {name: len(rows) for name, rows in seen.items()} == {
        "weights": 9, "temperatures": 5, "threshold": 9,
    }  # fmt: skip
    assert json.loads((new / "config.json").read_text())["model"]["policy"] == made.policy.config()


def test_engines_of_the_old_version_load(tiny_archive: Path, tmp_path: Path) -> None:
    run(tiny_archive, tmp_path / "old")
    folder = tmp_path / "old"
    manifest = engine.load(folder).manifest
    source = {k: v for k, v in manifest.source.items() if k != "fingerprint"}
    (folder / "seen.json").write_text('{"temperatures": [1, 2], "threshold": []}')
    write(folder, dataclasses.replace(manifest, source=source))
    model = open_archive(str(folder)).model
    assert model.seen.as_lists() == {"weights": [], "temperatures": [1, 2], "threshold": []}
    assert model.weights_fingerprint() == "" and model.choice is None
