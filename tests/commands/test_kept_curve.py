"""The curve and the reference that exported models carry."""

import json
import random
from pathlib import Path
from typing import Any, List

import pytest

from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.engine import load
from sledgehammer.engine.curve import CURVE, Curve
from sledgehammer.engine.manifest import read
from sledgehammer.model.archive_files import read_member
from sledgehammer.monitoring import cli as monitor
from sledgehammer.monitoring.reference import REFERENCE
from tests.cli import run_command
from tests.conftest import FIXTURES

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")
DEV, TRAIN = (str(FIXTURES / f"sst/{name}.txt") for name in ("dev", "train"))
WORDS = "a good bad story about bees the plot is dull and lazy but end joy film actors".split()
ROWS = 60


def run(command: Any, *arguments: Any) -> None:
    run_command(command, *map(str, arguments))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    file = tmp_path_factory.mktemp("data") / "held_out.jsonl"
    lines = [
        {"text": " ".join(rng.choices(WORDS, k=rng.randint(3, 30))), "label": label}
        for label in ["negative", "positive"] * (ROWS // 2)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_the_curve_is_what_the_directory_answers(
    tiny_archive: Path, tmp_path: Path, data: Path
) -> None:
    run(ExportCommand(), tiny_archive, tmp_path / "e", "--curve", data, "--json-lines")
    curve = Curve.load(tmp_path / "e")
    assert curve is not None and {CURVE, REFERENCE} <= set(read(tmp_path / "e").files)
    assert (curve.rows, curve.used_for) == (ROWS, {"temperatures": 0, "threshold": 0})
    assert curve.points[0]["mean_layers"] == 1 and curve.full["mean_layers"] == 4
    engine = load(tmp_path / "e")
    assert curve.holds(engine.manifest.conditions())
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for point in [*curve.points[::25], curve.default]:
        answers = engine.predict([row["text"] for row in rows], threshold=point["setting"])
        right = [a["label"] == row["label"] for a, row in zip(answers, rows)]
        assert sum(right) / ROWS == pytest.approx(point["accuracy"])
        assert sum(a["layers_run"] for a in answers) / ROWS == pytest.approx(point["mean_layers"])


def test_the_reference_is_that_of_monitor(tiny_archive: Path, tmp_path: Path, data: Path) -> None:
    run(ExportCommand(), tiny_archive, tmp_path / "e", "--verify", data, "--json-lines")
    kept = (tmp_path / "e" / REFERENCE).read_text()
    assert monitor.main([str(data), "--engine", str(tmp_path / "e"), "--write-reference"]) == 0
    assert (tmp_path / "e" / REFERENCE).read_text() == kept


@pytest.mark.parametrize(
    "options, used",
    [
        (["--recalibrate", "DATA"], {"temperatures": ROWS, "threshold": 0}),
        (["--verify", "DATA", "--recalibrate", DEV], {"temperatures": 0, "threshold": 0}),
    ],
)
def test_the_curve_says_what_its_rows_were_used_for(
    tiny_archive: Path, tmp_path: Path, data: Path, options: List[str], used: Any
) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text(
        '{"text": "bees.", "label": "positive"}\n' * 3 + '{"text": "dull.", "label": "negative"}\n'
    )
    options = [{"DATA": str(data), DEV: str(lines)}.get(option, option) for option in options]
    run(ExportCommand(), tiny_archive, tmp_path / "e", *options, "--json-lines", "--few-rows")
    curve = Curve.load(tmp_path / "e")
    assert curve is not None and (curve.rows, curve.used_for) == (ROWS, used)


def test_training_rows_are_left_out(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(ExportCommand(), tiny_archive, tmp_path / "none", "--curve", TRAIN)
    assert "no curve is kept: all 9 rows" in capsys.readouterr().err
    assert not (tmp_path / "none" / CURVE).exists()
    both = tmp_path / "both.txt"
    both.write_text(Path(TRAIN).read_text() + Path(DEV).read_text())
    run(ExportCommand(), tiny_archive, tmp_path / "some", "--curve", both)
    printed = capsys.readouterr()
    assert "leaves out 9 of 14 rows" in printed.err and "that needs 50 rows" in printed.out
    curve = Curve.load(tmp_path / "some")
    assert curve is not None and curve.rows == 5
    assert not (tmp_path / "some" / REFERENCE).exists()


def test_a_chosen_model_carries_the_curve_it_was_chosen_from(
    tiny_archive: Path, tiny_engine: Path, tmp_path: Path, data: Path
) -> None:
    wish = ["--max-accuracy-drop", "0.5", "--json-lines"]
    chosen, archive = tmp_path / "chosen", tmp_path / "chosen.tar.gz"
    run(TradeoffCommand(), tiny_engine, data, *wish, "--write", chosen)
    run(TradeoffCommand(), tiny_archive, data, *wish, "--write", archive)
    curve = Curve.load(chosen)
    assert curve is not None and curve.used_for["threshold"] == ROWS
    assert curve.default["setting"] == read(chosen).policy["threshold"]
    of_archive = Curve.of(read_member(str(archive), CURVE))
    assert of_archive.default["accuracy"] == pytest.approx(curve.default["accuracy"])
