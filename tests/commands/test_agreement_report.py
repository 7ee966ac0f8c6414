"""`allennlp tradeoff --dtype` on a tiny archive."""

import json
from pathlib import Path

import pytest

from sledgehammer.analysis.all_exits import run_all_exits
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import open_archive
from tests.cli import run_command
from tests.tiny_training import DEV


def test_what_changes_is_reported(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    report, target = tmp_path / "report.json", tmp_path / "new.tar.gz"
    run_command(
        TradeoffCommand(), str(tiny_archive), DEV, "--dtype", "bfloat16", "--output", str(report),
        "--overrides", '{"model.inference_dtype": "float16", "model.policy.threshold": 0.5}',
        "--min-speedup", "1", "--write", str(target),
    )  # fmt: skip
    found = json.loads(report.read_text())
    changed = found["number_format"]
    assert (changed["dtype"], changed["against"]) == ("bfloat16", "float32")
    assert [change["threshold"] for change in changed["changes"]] == [0.5, 1.0]
    full = changed["changes"][1]
    assert (full["rows"], full["exits"], full["mean_layers"]) == (5, 1.0, 4.0)
    assert 0 < full["probability_difference"] < 0.05
    assert full["accuracy"] == found["curves"]["policy"][-1]["accuracy"]
    printed = capsys.readouterr().out
    assert "computed in bfloat16, compared with float32" in printed and "same exit" in printed
    assert open_archive(str(target)).model.runner.dtype == "bfloat16"  # type: ignore[union-attr]


def test_the_change_is_that_of_the_probabilities(tiny_archive: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run_command(
        TradeoffCommand(), str(tiny_archive), DEV, "--dtype", "bfloat16", "--output", str(report)
    )
    model, reader = open_archive(str(tiny_archive))
    rows = read_rows(reader, DEV)
    last = []
    for dtype in ("float32", "bfloat16"):
        model.use_number_format(dtype)
        last.append(model.calibrated(run_all_exits(model, reader, rows).logits)[:, -1])
    (full,) = (
        change
        for change in json.loads(report.read_text())["number_format"]["changes"]
        if change["threshold"] == 1.0
    )
    assert full["probability_difference"] == pytest.approx(float((last[0] - last[1]).abs().max()))


def test_no_report_without_another_format(tiny_archive: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run_command(TradeoffCommand(), str(tiny_archive), DEV, "--output", str(report))
    assert json.loads(report.read_text())["number_format"] is None
