"""`allennlp lexical` on a tiny archive, and the other commands on what it writes."""

import json
import tarfile
from pathlib import Path

import pytest
import torch
from allennlp.commands import main as allennlp_main

from sledgehammer.analysis.all_exits import fingerprints, run_all_exits
from sledgehammer.calibration import fit_scalings
from sledgehammer.commands.calibrate import Calibrate
from sledgehammer.commands.difficulty import Difficulty
from sledgehammer.commands.lexical import REPORT, Lexical
from sledgehammer.commands.prune import Prune
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import open_archive
from tests.cli import refused, run_command
from tests.conftest import FIXTURES
from tests.tiny_training import DEV

TRAIN = str(FIXTURES / "sst/train.txt")
FEW = ("--bits", "10", "--min-rows", "1", "--few-rows")


@pytest.fixture(scope="module")
def with_exit(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    target = tmp_path_factory.mktemp("lexical") / "new.tar.gz"
    run_command(Lexical(), str(tiny_archive), TRAIN, "--validation", DEV, "-o", str(target), *FEW)
    return target


def test_the_new_archive_has_the_exit(tiny_archive: Path, with_exit: Path) -> None:
    old, new = open_archive(str(tiny_archive)), open_archive(str(with_exit))
    assert old.model.lexical is None and not old.reader.lexical
    assert new.model.exit_layers == [-1, *old.model.exit_layers] and new.reader.lexical
    rows = read_rows(new.reader, DEV)
    before, after = run_all_exits(*old, rows), run_all_exits(*new, rows)
    torch.testing.assert_close(after.logits[:, 1:], before.logits)
    for own, expected in zip(new.model.scalings, fit_scalings(after.logits, after.label)):
        assert own == pytest.approx(expected, rel=1e-2, abs=1e-3)
    assert new.model.exit_shares.any()
    with tarfile.open(with_exit) as tar:
        report = json.load(tar.extractfile(REPORT))  # type: ignore[arg-type]
    assert list(report["exits"]) == ["-1", "0", "2", "3"] and report["validation_rows"] == 5


def test_it_remembers_the_rows(tiny_archive: Path, with_exit: Path) -> None:
    seen = open_archive(str(with_exit)).model.seen
    reader = open_archive(str(tiny_archive)).reader
    for purpose, path in (("weights", TRAIN), ("temperatures", DEV)):
        assert seen.among(purpose, fingerprints(reader, read_rows(reader, path))).all()


def test_validation_rows_that_it_learns_from_are_left_out(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    both = tmp_path / "both.txt"
    both.write_text(Path(TRAIN).read_text() + Path(DEV).read_text())
    target = tmp_path / "new.tar.gz"
    run_command(
        Lexical(), str(tiny_archive), TRAIN, "--validation", str(both), "-o", str(target), *FEW
    )
    said = capsys.readouterr().out
    assert "left out 9 of 14 rows: 9 validation rows are among the training data\n" in said
    assert len(open_archive(str(target)).model.seen.temperatures) == 5


def test_the_other_commands_see_it(
    with_exit: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    held_out = str(FIXTURES / "sst/held_out.txt")
    report, ranked = tmp_path / "tradeoff.json", tmp_path / "ranked.jsonl"
    run_command(
        TradeoffCommand(), str(with_exit), held_out, "--output", str(report),
        "--plot", str(tmp_path / "curve.svg"),
    )  # fmt: skip
    found = json.loads(report.read_text())
    first = found["curves"]["single exits"][0]
    assert found["exit_layers"] == [-1, 0, 2, 3]
    assert first["mean_layers"] == 0.0 and first["layer_speedup"] is None
    assert "no layers" in capsys.readouterr().out
    run_command(Difficulty(), str(with_exit), held_out, "--output", str(ranked), "--setting", "0")
    lines = [json.loads(line) for line in ranked.read_text().splitlines()]
    assert {line["exit_layer"] for line in lines} == {-1}
    assert list(lines[0]["predictions"]) == ["-1", "0", "2", "3"]


def test_evaluate_writes_null_for_the_speedup_of_no_layers(
    with_exit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "predictions.jsonl"
    overrides = {"model.policy": {"type": "confidence", "threshold": 0.0}}
    arguments = [
        str(with_exit), DEV, "--predictions-output-file", str(target),
        "--overrides", json.dumps(overrides),
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["allennlp", "evaluate", *arguments])
    allennlp_main(prog="allennlp")
    (batch,) = [json.loads(line) for line in target.read_text().splitlines()]
    assert batch["layers_run"] == [0] * 5 and batch["layer_speedup"] == [None] * 5


def test_calibrate_fits_the_mixing_anew(with_exit: Path, tmp_path: Path) -> None:
    held_out = str(FIXTURES / "sst/held_out.txt")
    target, report = tmp_path / "new.tar.gz", tmp_path / "report.json"
    run_command(
        Calibrate(), str(with_exit), held_out, "-o", str(target), "--few-rows", "--report", str(report),
        "--plot", str(tmp_path / "reliability.svg"),
    )  # fmt: skip
    new = open_archive(str(target))
    outputs = run_all_exits(*new, read_rows(new.reader, held_out))
    for own, expected in zip(new.model.scalings, fit_scalings(outputs.logits, outputs.label)):
        assert own == pytest.approx(expected, rel=1e-2, abs=1e-3)
    assert new.model.scalings != open_archive(str(with_exit)).model.scalings
    states = json.loads(report.read_text())["exits"]
    for layer, scaling in zip(new.model.exit_layers, new.model.scalings):
        assert states[str(layer)]["after"]["mixing"] == pytest.approx(scaling.mixing)
        assert states[str(layer)]["after"]["nll"] <= states[str(layer)]["before"]["nll"] + 1e-6


def test_pruning_keeps_it(with_exit: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.tar.gz"
    run_command(
        Prune(), str(with_exit), TRAIN, "-o", str(target), "--width", "0.5",
        "--validation", DEV,
    )  # fmt: skip
    old, new = open_archive(str(with_exit)).model, open_archive(str(target)).model
    assert torch.equal(old.lexical.table, new.lexical.table)
    assert new.exit_layers == old.exit_layers


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            [TRAIN, "--validation", TRAIN],
            "9 validation rows are among the training data: none is left",
        ),
        (["missing.txt", "--validation", DEV], "no data at 'missing.txt'"),
        ([TRAIN, "--validation", DEV], "too few rows to fit temperatures to"),
        ([TRAIN, "--validation", DEV, "--bits", "30"], "lexical.bits must be a whole number"),
    ],
)
def test_mistakes_are_told_in_a_line_and_nothing_is_written(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: "list[str]",
    message: str,
) -> None:
    target = str(tmp_path / "new.tar.gz")
    assert message in refused(Lexical(), capsys, str(tiny_archive), *arguments, "-o", target)
    assert list(tmp_path.iterdir()) == []
