"""`allennlp tradeoff` on a tiny archive."""

import csv
import json
from pathlib import Path
from typing import Any, Dict

import pytest
import torch

from sledgehammer.analysis.all_exits import replayed_answers, run_all_exits
from sledgehammer.commands.calibrate import Calibrate
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archive_writing import write_changed
from sledgehammer.model.archives import open_archive
from tests.cli import allennlp, refused, run_command
from tests.conftest import FIXTURES
from tests.tiny_training import DEV

TRAIN = str(FIXTURES / "sst/train.txt")
HELD_OUT = str(FIXTURES / "sst/held_out.txt")


def tradeoff(*arguments: object) -> None:
    run_command(TradeoffCommand(), *map(str, arguments))


def report(tmp_path: Path, *arguments: object) -> Dict[str, Any]:
    tradeoff(*arguments, "--output", tmp_path / "report.json")
    return json.loads((tmp_path / "report.json").read_text())


def test_the_whole_curve(tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = report(tmp_path, tiny_archive, HELD_OUT)
    curve = found["curves"]["policy"]
    assert (curve[0]["threshold"], curve[-1]["threshold"]) == (0.0, 1.0)
    assert (curve[0]["layer_speedup"], curve[-1]["layer_speedup"]) == (4.0, 1.0)
    assert len(found["curves"]["random"]) == len(curve)
    assert len(found["curves"]["single exits"]) == 3
    assert found["rows"] == 9 and found["exit_layers"] == [0, 2, 3]
    assert found["warnings"] == []
    printed = capsys.readouterr().out
    assert "random exits" in printed and "oracle" in printed and "only layer 2" in printed


def test_every_distinct_threshold(tiny_archive: Path, tmp_path: Path) -> None:
    grid = report(tmp_path, tiny_archive, TRAIN)["curves"]["policy"]
    exact = report(tmp_path, tiny_archive, TRAIN, "--exact")["curves"]["policy"]
    assert len(exact) <= 9 * 2 + 2
    seen = {(point["accuracy"], point["mean_layers"]) for point in exact}
    assert all((point["accuracy"], point["mean_layers"]) in seen for point in grid)


def test_csv_has_a_row_for_every_point(tiny_archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "curve.csv"
    tradeoff(tiny_archive, TRAIN, "--thresholds", 0.5, 1.0, "--output", target)
    with open(target, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["curve"] for row in rows] == ["policy"] * 2 + ["random"] * 2 + [
        "single exits"
    ] * 3 + ["oracle"]
    assert rows[1]["threshold"] == "1.0" and rows[1]["share_at_exit_3"] == "1.0"


def test_other_archives_in_the_same_plot(tiny_archive: Path, tmp_path: Path) -> None:
    page = tmp_path / "curve.html"
    found = report(tmp_path, tiny_archive, TRAIN, "--versus", tiny_archive, "--plot", page)
    assert found["versus"] == {str(tiny_archive): found["curves"]["policy"]}
    assert found["bands"]["policy"] == found["bands"][str(tiny_archive)]
    band, curve = found["bands"]["policy"], found["curves"]["policy"]
    assert all(
        low <= point["accuracy"] <= high
        for low, point, high in zip(band["low"], curve, band["high"])
    )
    text = page.read_text()
    assert f"{tiny_archive.parent.name} (lies on confidence)" in text
    assert "<h1>SST train (9 rows): tiny_bert, exits at layers 0, 2, 3</h1>" in text


def test_a_path_may_look_like_a_formula(tiny_archive: Path, tmp_path: Path) -> None:
    """Between dollar signs matplotlib reads one, and this is none."""
    data = tmp_path / "a$x_{$.txt"
    data.write_bytes(Path(TRAIN).read_bytes())
    other = tmp_path / "b$^$"
    other.mkdir()
    (other / "model.tar.gz").symlink_to(tiny_archive)
    plot = tmp_path / "curve.svg"
    tradeoff(tiny_archive, data, "--versus", other / "model.tar.gz", "--plot", plot)
    text = plot.read_text()
    assert "SST a$x_{$ (9 rows)" in text and str(other) in text


def test_choose_and_write(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "new.tar.gz"
    before = tiny_archive.read_bytes()
    found = report(tmp_path, tiny_archive, TRAIN, "--min-speedup", 1.5, "--write", target)["chosen"]
    assert found["layer_speedup"] >= 1.5
    assert f"chosen threshold: {found['threshold']:.6g}" in capsys.readouterr().out
    opened = open_archive(str(target))
    assert opened.model.policy.threshold == found["threshold"]
    assert len(opened.model.seen.threshold) == 9
    assert opened.model.seen.temperatures.equal(
        open_archive(str(tiny_archive)).model.seen.temperatures
    )
    assert tiny_archive.read_bytes() == before


@pytest.mark.parametrize(
    "policy, column, ends",
    [
        ({"type": "patience"}, "patience", [0.0, 3.0]),
        ({"type": "entropy", "max_exit_layer": 2}, "entropy", None),
        ({"type": "budget"}, "budget", [1.0, 4.0]),
    ],
)
def test_another_policy_from_the_same_pass(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture, policy: Any, column: str,
    ends: Any,
) -> None:  # fmt: skip
    target = tmp_path / "new.tar.gz"
    found = report(
        tmp_path, tiny_archive, TRAIN, "--policy", json.dumps(policy), "--min-speedup", 1.2,
        "--write", target, "--plot", tmp_path / "curve.html",
    )  # fmt: skip
    curve = found["curves"]["policy"]
    if ends:
        assert [curve[0][column], curve[-1][column]] == ends
    assert curve[0]["layer_speedup"] == 4.0
    assert curve[-1]["layer_speedup"] == (4 / 3 if "max_exit_layer" in policy else 1)
    assert f"chosen {column}: " in capsys.readouterr().out
    written = open_archive(str(target)).model.policy
    assert written.config() == {**policy, column: found["chosen"][column]}
    some = report(tmp_path, target, TRAIN, "--settings", curve[0][column], curve[-1][column])
    assert [p["accuracy"] for p in some["curves"]["policy"]] == [
        curve[0]["accuracy"], curve[-1]["accuracy"]
    ]  # fmt: skip
    exact = report(tmp_path, target, TRAIN, "--exact")["curves"]["policy"]
    assert exact[0]["layer_speedup"] == 4.0


def test_a_guarantee_for_another_policy(tiny_archive: Path, tmp_path: Path) -> None:
    policy = '{"type": "normalized_entropy"}'
    found = report(
        tmp_path, tiny_archive, HELD_OUT, "--policy", policy, "--max-inconsistency", 0.9,
        "--delta", 0.5,
    )["chosen"]  # fmt: skip
    assert 0 <= found["speed"] <= 1 and found["delta"] == 0.5


def test_rows_used_twice_cause_warnings(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for data, told in (
        (DEV, "5 of the 5 rows were also used to fit the temperatures"),
        (TRAIN, "9 of the 9 rows were also used to train the model"),
    ):
        (warning,) = report(tmp_path, tiny_archive, data)["warnings"]
        assert warning.startswith(told)
        assert f"warning: {warning}" in capsys.readouterr().err
    chosen = tmp_path / "chosen.tar.gz"
    tradeoff(tiny_archive, HELD_OUT, "--min-speedup", 1, "--write", chosen)
    (warning,) = report(tmp_path, chosen, HELD_OUT)["warnings"]
    assert warning.startswith("9 of the 9 rows were also used to choose the threshold")
    run_command(
        Calibrate(), str(chosen), HELD_OUT, "-o", str(tmp_path / "calibrated.tar.gz"), "--few-rows"
    )
    assert "9 of the 9 rows were also used to choose the threshold" in capsys.readouterr().err


GUARANTEE = "With probability at least"


@pytest.mark.parametrize(
    "data, used", [(TRAIN, "9 to train the model"), (DEV, "5 to fit the temperatures")]
)
def test_a_guarantee_is_refused_on_rows_that_had_a_part_in_the_model(
    tiny_archive: Path, capsys: pytest.CaptureFixture, data: str, used: str
) -> None:
    wish = ["--max-inconsistency", 0.9, "--delta", 0.5]
    error = refused(TradeoffCommand(), capsys, tiny_archive, data, *wish)
    assert used in error and "--seen-rows skip" in error
    tradeoff(tiny_archive, data, *wish, "--seen-rows", "use")
    shown = capsys.readouterr()
    assert "warning: " in shown.err and "nothing is guaranteed" in shown.out
    assert GUARANTEE not in shown.out
    assert "none is left" in refused(
        TradeoffCommand(), capsys, tiny_archive, data, *wish, "--seen-rows", "skip"
    )
    assert "had no part" in refused(
        TradeoffCommand(), capsys, tiny_archive, data, "--seen-rows", "refuse"
    )


def test_a_guarantee_on_rows_of_which_some_are_left_out(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    mixed, target = tmp_path / "mixed.txt", tmp_path / "new.tar.gz"
    mixed.write_text(Path(TRAIN).read_text() + Path(HELD_OUT).read_text())
    found = report(
        tmp_path, tiny_archive, mixed, "--max-inconsistency", 0.9, "--delta", 0.5,
        "--seen-rows", "skip", "--write", target,
    )  # fmt: skip
    shown = capsys.readouterr()
    assert "left out 9 of 18 rows" in shown.out and "warning" not in shown.err
    assert GUARANTEE in shown.out and "had a part in the model aside" in shown.out
    assert found["rows"] == 9 and found["warnings"] == [] and found["chosen"]["guaranteed"]
    again = refused(
        TradeoffCommand(), capsys, target, HELD_OUT, "--max-inconsistency", 0.9, "--delta", 0.5
    )
    assert "9 to choose the threshold" in again


def test_an_archive_that_does_not_know_its_rows_says_so(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    old = tmp_path / "old.tar.gz"
    write_changed(str(tiny_archive), old, {"seen.weights": torch.zeros(0, dtype=torch.long)})
    tradeoff(old, HELD_OUT, "--max-inconsistency", 0.9, "--delta", 0.5)
    assert "the model does not remember its training rows: none of these may be among them" in (
        capsys.readouterr().out
    )


def test_a_guarantee_uses_the_given_thresholds(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    wish = ["--max-inconsistency", 0.9, "--delta", 0.5]
    found = report(tmp_path, tiny_archive, HELD_OUT, *wish, "--thresholds", 0.2, 0.97)["chosen"]
    assert found["threshold"] in (0.2, 0.97)
    assert "--exact takes its settings from the rows" in refused(
        TradeoffCommand(), capsys, tiny_archive, HELD_OUT, *wish, "--exact"
    )


def test_a_capped_guarantee_says_what_it_compares_with(
    tiny_archive: Path, capsys: pytest.CaptureFixture
) -> None:
    policy = '{"type": "confidence", "max_exit_layer": 2}'
    wish = ["--max-inconsistency", 0.9, "--delta", 0.5]
    tradeoff(tiny_archive, HELD_OUT, *wish, "--policy", policy)
    assert "against the exit at layer 2, the highest that max_exit_layer 2 allows" in (
        capsys.readouterr().out
    )
    tradeoff(tiny_archive, HELD_OUT, *wish)
    assert "against the last exit (layer 3)" in capsys.readouterr().out


def test_a_threshold_an_exit_goes_through_archives_engines_and_replays(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    lines = [f"(3 (2 film) (3 (2 number) (3 w{i})))" for i in range(120)]
    many = tmp_path / "many.txt"
    many.write_text("\n".join(lines) + "\n")
    target = tmp_path / "new.tar.gz"
    found = report(
        tmp_path, tiny_archive, many, "--max-inconsistency", 0.9, "--delta", 0.5, "--each-exit",
        "--write", target, "--plot", tmp_path / "curve.html",
    )["chosen"]  # fmt: skip
    assert len(found["thresholds"]) == 2 and found["each_exit"] and found["mean_layers"] < 4
    assert "among the texts that each exit answers" in capsys.readouterr().out
    opened = open_archive(str(target))
    assert opened.model.policy.config() == {"type": "confidence", "thresholds": found["thresholds"]}
    assert opened.model.choice_problem() is None
    outputs = run_all_exits(opened.model, opened.reader, read_rows(opened.reader, str(many)))
    exits = replayed_answers(opened.model, outputs).exit
    layers = torch.tensor(opened.model.exit_layers)[exits] + 1
    assert layers.double().mean() == pytest.approx(found["mean_layers"])
    tradeoff(target, many, "--thresholds", 0.5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--max-accuracy-drop", "0.1", "--each-exit"], "--each-exit is a guarantee"),
        (["--policy", '{"type": "patience"}', "--max-accuracy-drop", "0.1", "--delta", "0.1",
          "--each-exit"], "--each-exit needs the policy 'confidence'"),
        (["--thresholds", "0.5", "--max-accuracy-drop", "0.1", "--delta", "0.1", "--each-exit"],
         "leave out --thresholds"),
    ],
)  # fmt: skip
def test_each_exit_has_its_conditions(
    tiny_archive: Path, capsys: pytest.CaptureFixture, arguments: "list[str]", message: str
) -> None:
    assert message in refused(TradeoffCommand(), capsys, tiny_archive, HELD_OUT, *arguments)


def test_a_choice_no_longer_stands_when_something_changes(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture, caplog: Any
) -> None:
    chosen, calibrated = tmp_path / "chosen.tar.gz", tmp_path / "calibrated.tar.gz"
    wish = ["--max-inconsistency", 0.9, "--delta", 0.5]
    tradeoff(tiny_archive, HELD_OUT, *wish, "--write", chosen)
    choice = open_archive(str(chosen)).model.choice
    assert choice is not None and choice.wanted == {"max_inconsistency": 0.9}
    assert (choice.rows, choice.data, choice.delta) == (9, HELD_OUT, 0.5)
    assert open_archive(str(tiny_archive)).model.choice is None
    assert "no longer stands" not in caplog.text
    run_command(Calibrate(), str(chosen), TRAIN, "-o", str(calibrated), "--few-rows")
    printed = capsys.readouterr().err
    assert "with other temperatures: the choice no longer stands, and its guarantee" in printed
    open_archive(str(calibrated))
    assert "with other temperatures" in caplog.text
    caplog.clear()
    open_archive(str(chosen), overrides='{"model.policy.threshold": 0.123}')
    assert "with another policy or setting" in caplog.text
    caplog.clear()
    open_archive(str(chosen), overrides='{"model.inference_dtype": "bfloat16"}')
    assert "with the number format float32, not bfloat16" in caplog.text
    caplog.clear()
    moved = {"exits.0.linear.bias": torch.ones(2)}
    write_changed(str(chosen), calibrated, moved)
    open_archive(str(calibrated))
    assert "with other weights" in caplog.text


def test_no_threshold_is_safe_on_ten_rows(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "new.tar.gz"
    tradeoff(
        tiny_archive, HELD_OUT, "--max-accuracy-drop", 0.01, "--delta", 0.1, "--write", target
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "No threshold can be shown to keep the accuracy-drop below 0.01" in printed
    assert open_archive(str(target)).model.policy.threshold == 1.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--min-accuracy", "0.9", "--min-speedup", "4.1"], "no threshold meets these conditions"),
        (["--write", "{tmp}/new.tar.gz"], "--write needs a condition"),
        (["--delta", "0.1"], "--delta guarantees either"),
        (["--delta", "2", "--max-accuracy-drop", "0.1"], "--delta must be between 0 and 1"),
        (["--min-accuracy", "92"], "--min-accuracy must be between 0 and 1"),
        (["--thresholds", "1.5"], "threshold must be a number between 0 and 1, got 1.5"),
        (["--policy", '{"type": "hope"}'], "there is no policy 'hope'; there are budget"),
        (["--policy", "[]"], "--policy must be an object"),
        (["--policy", '{"type": "patience"}', "--settings", "-1"], "patience must be a whole"),
        (["--policy", '{"type": "learned_halting"}'], '"model.signals": ["certainty"]'),
        (["--output", "{tmp}/report.txt"], "must end in one of .json, .csv"),
        (["--plot", "{tmp}/missing/curve.png"], "no folder"),
        (["--versus", "missing.tar.gz"], "no archive at 'missing.tar.gz'"),
        (["--min-speedup", "1", "--write", "{tmp}/there"], "exists: give another name"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: "list[str]",
    message: str,
) -> None:
    (tmp_path / "there").write_text("old")
    outputs = ["--output", f"{tmp_path}/out.csv"] if "--output" not in arguments else []
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert message in refused(TradeoffCommand(), capsys, tiny_archive, TRAIN, *filled, *outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "old"


def test_the_commands_are_allennlps(tiny_archive: Path, tmp_path: Path) -> None:
    """In a process of its own, as a user types it: tables on standard output, nothing else."""
    done = allennlp("tradeoff", str(tiny_archive), TRAIN, "--thresholds", "0.5", "1.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("|") and "oracle" in done.stdout
    help_text = allennlp("--help").stdout
    assert all(name in help_text for name in ("calibrate", "tradeoff", "difficulty"))
    assert "example:" in allennlp("calibrate", "--help").stdout


def test_an_exported_model_in_the_place_of_its_archive(
    tiny_archive: Path, tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Float32 answers are the archive's; what is written is an exported model, as was run."""
    eager, exported = (
        report(tmp_path, tiny_archive, TRAIN, *more)["curves"]["policy"]
        for more in ([], ["--engine", tiny_engine])
    )
    assert [p["accuracy"] for p in eager] == [p["accuracy"] for p in exported]
    new = tmp_path / "new"
    tradeoff(tiny_archive, TRAIN, "--engine", tiny_engine, "--max-accuracy-drop", 1, "--write", new)
    opened = open_archive(str(new))
    assert opened.model.policy.threshold == 0.0
    old = open_archive(str(tiny_engine))
    assert opened.model.temperatures.equal(old.model.temperatures)
    assert opened.model.seen.temperatures.equal(old.model.seen.temperatures)
    assert len(opened.model.seen.threshold) == 9 and len(opened.model.seen.weights) == 9
    assert opened.model.choice_problem() is None
    in_place = ["--engine", new, "--min-speedup", 1, "--write", new]
    assert "exists" in refused(TradeoffCommand(), capsys, tiny_archive, HELD_OUT, *in_place)
    tradeoff(tiny_archive, HELD_OUT, *in_place, "--force")
    assert open_archive(str(new)).model.choice.wanted == {"min_speedup": 1.0}  # type: ignore[union-attr]


def test_an_exported_model_of_another_archive_is_refused(
    tiny_archive: Path, tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = tmp_path / "other.tar.gz"
    run_command(Calibrate(), str(tiny_archive), TRAIN, "-o", str(other), "--few-rows")
    error = refused(TradeoffCommand(), capsys, other, TRAIN, "--engine", tiny_engine)
    assert "was not exported from" in error
