"""`allennlp calibrate` on a tiny archive."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sledgehammer.analysis.all_exits import run_all_exits
from sledgehammer.calibration import is_at_bound, nll
from sledgehammer.commands.calibrate import REPORT, Calibrate
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import open_archive
from sledgehammer.policies import exit_shares
from tests.cli import refused, run_command
from tests.conftest import FIXTURES

TRAIN = str(FIXTURES / "sst/train.txt")


def test_new_archive_has_temperatures_that_fit_the_data(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target, report_file = tmp_path / "new.tar.gz", tmp_path / "report.json"
    before = tiny_archive.read_bytes()
    run_command(
        Calibrate(), str(tiny_archive), TRAIN, "-o", str(target), "--report", str(report_file),
        "--plot", str(tmp_path / "reliability.svg"), "--few-rows",
    )  # fmt: skip
    assert tiny_archive.read_bytes() == before
    assert (tmp_path / "reliability.svg").stat().st_size > 1000
    table = capsys.readouterr().out
    assert "AUROC" in table and "layer 3" in table and f"new archive: {target}" in table

    old, new = open_archive(str(tiny_archive)), open_archive(str(target))
    rows = read_rows(new.reader, TRAIN)
    outputs = run_all_exits(new.model, new.reader, rows)
    shares = exit_shares(new.model.calibrated(outputs.logits).numpy())
    np.testing.assert_allclose(new.model.shares_on_host(), shares, atol=1e-4)
    report = json.loads(report_file.read_text())
    assert report["rows"] == len(rows)
    for position, layer in enumerate(new.model.exit_layers):
        states = report["exits"][str(layer)]
        logits = outputs.logits[:, position]
        for state, model in (("before", old.model), ("after", new.model)):
            temperature = float(model.temperatures[position])
            assert states[state]["temperature"] == pytest.approx(temperature)
            assert states[state]["nll"] == pytest.approx(
                nll(logits, outputs.label, temperature), rel=1e-4
            )
        assert (
            states["after"]["nll"]
            <= min(states["before"]["nll"], nll(logits, outputs.label)) + 1e-6
        )
    assert sorted(new.model.seen.temperatures.tolist()) == sorted(outputs.hashes.tolist())
    with tarfile.open(target) as tar:
        assert json.load(tar.extractfile(REPORT)) == report  # type: ignore[arg-type]


def test_it_can_be_calibrated_again(tiny_archive: Path, tmp_path: Path) -> None:
    once, twice = str(tmp_path / "once.tar.gz"), str(tmp_path / "twice.tar.gz")
    run_command(Calibrate(), str(tiny_archive), TRAIN, "-o", once, "--few-rows")
    run_command(Calibrate(), once, str(FIXTURES / "sst/dev.txt"), "-o", twice, "--few-rows")
    with tarfile.open(twice) as tar:
        assert tar.getnames().count(REPORT) == 1
        assert json.load(tar.extractfile(REPORT))["rows"] == 5  # type: ignore[arg-type]


def test_an_exported_model_is_refused_at_once(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "new.tar.gz"
    error = refused(Calibrate(), capsys, tiny_engine, "missing.txt", "-o", target)
    assert "is an exported model, which can't be changed" in error


def test_a_temperature_at_a_bound_is_warned_of(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A single row is answered rightly by some exits, and wrongly by the others."""
    data, report = tmp_path / "one.jsonl", tmp_path / "report.json"
    data.write_text('{"text": "fun", "label": "positive"}\n')
    run_command(
        Calibrate(), str(tiny_archive), str(data), "--json-lines", "--few-rows",
        "-o", str(tmp_path / "new.tar.gz"), "--report", str(report),
    )  # fmt: skip
    temperatures = [
        e["after"]["temperature"] for e in json.loads(report.read_text())["exits"].values()
    ]
    error = capsys.readouterr().err
    assert error.count("is at the bound of the search") == sum(map(is_at_bound, temperatures)) > 0
    assert any("at the bound" in warning for warning in json.loads(report.read_text())["warnings"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.tar.gz", TRAIN, "-o", "{tmp}/new.tar.gz"], "no archive at 'missing.tar.gz'"),
        (["{archive}", "missing.txt", "-o", "{tmp}/new.tar.gz"], "no data at 'missing.txt'"),
        (["{archive}", TRAIN, "-o", "{archive}", "--force"], "is the old archive"),
        (["{archive}", TRAIN, "-o", "{tmp}/there"], "exists: give another name, or --force"),
        (["{archive}", TRAIN, "-o", "{tmp}/new.tar.gz"], "too few rows to fit temperatures to: "),
        (["{archive}", "{tmp}/there", "-o", "{tmp}/new.tar.gz"], "no rows in"),
        (["{archive}", TRAIN, "-o", "{tmp}/new.tar.gz", "--plot", "x.html"], "must end in one of"),
        (["{archive}", TRAIN, "-o", "{tmp}/new.tar.gz", "--report", "x"], "must end in one of"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: "list[str]",
    message: str,
) -> None:
    (tmp_path / "there").write_text("")
    filled = [a.format(tmp=tmp_path, archive=tiny_archive) for a in arguments]
    assert message in refused(Calibrate(), capsys, *filled)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == ""
