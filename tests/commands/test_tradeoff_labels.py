"""`tradeoff` and `choose` for data of which some labels are rare, and thresholds by label."""

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

import sledgehammer
from sledgehammer import engine
from sledgehammer.analysis.all_exits import replayed_answers, run_all_exits
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.engine import EngineError, cli
from sledgehammer.model.archives import open_archive
from tests.cli import refused
from tests.commands.test_tradeoff import HELD_OUT, report, tradeoff

MACRO_F1 = ["--max-macro-f1-drop", 0.9]
RECALL = ["--recall", "positive", "--tolerance", 0.9]


def words(rows: int) -> List[str]:
    return [f"film number {i} {'good' if i % 2 else 'bad'}" for i in range(rows)]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """As many rows of either label, of which the model knows none."""
    lines = [f"({3 - 2 * (i % 2)} (2 film) (2 (2 number) (2 w{i})))" for i in range(200)]
    (tmp_path / "many.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "many.txt"


def test_macro_f1_and_recall_are_guaranteed_together(
    tiny_archive: Path, tmp_path: Path, many: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "new.tar.gz"
    found = report(
        tmp_path, tiny_archive, many, *MACRO_F1, *RECALL, "--delta", 0.5, "--write", target
    )["chosen"]
    assert found["guaranteed"] and found["mean_layers"] < 4
    printed = capsys.readouterr().out
    assert (
        "With probability at least 0.5 the true macro-f1-drop is at most 0.9 and the true "
        "recall-drop of 'positive' is at most 0.9, against the last exit (layer 3)"
    ) in printed
    assert (
        "  macro-F1 " in printed
        and "  recall of 'positive' " in printed
        and "on 100 rows" in printed
    )
    model = open_archive(str(target)).model
    assert model.choice is not None and model.choice_problem() is None
    assert model.choice.wanted == {"max_macro_f1_drop": 0.9, "max_recall_drop of positive": 0.9}


def test_few_rows_of_a_label_show_nothing(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "new.tar.gz"
    bounds = ["--max-macro-f1-drop", 0.01, "--recall", "positive", "--tolerance", 0.01]
    fixed = ["--policy", '{"threshold": {"positive": 0.6}}']
    tradeoff(tiny_archive, HELD_OUT, *bounds, *fixed, "--delta", 0.1, "--write", target)
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "No threshold can be shown to keep the macro-f1-drop below 0.01 and the recall" in printed
    )
    assert "of 'positive'" in printed and "only the full model is safe" in printed
    assert open_archive(str(target)).model.policy.config()["threshold"] == 1.0


def test_without_delta_the_rows_themselves_decide(tiny_archive: Path, tmp_path: Path) -> None:
    for bounds, loss in ((MACRO_F1, 0.9), (["--max-macro-f1-drop", 0], 0)):
        found = report(tmp_path, tiny_archive, HELD_OUT, *bounds)
        curve = found["curves"]["policy"]
        full = curve[-1]["macro_f1"]
        allowed = [p for p in curve if full - p["macro_f1"] <= loss + 1e-12]
        assert found["chosen"]["layer_speedup"] == max(p["layer_speedup"] for p in allowed)
    found = report(tmp_path, tiny_archive, HELD_OUT, "--recall", "positive", "--tolerance", 1)
    assert found["chosen"]["layer_speedup"] == 4.0 and not found["chosen"]["guaranteed"]


def exits_of(model: Any, reader: Any, texts: List[str]) -> List[int]:
    rows = [Row([text], "positive") for text in texts]
    answers = replayed_answers(model, run_all_exits(model, reader, rows))
    return [model.exit_layers[exit] for exit in answers.exit.tolist()]


def test_thresholds_by_label_in_archives_engines_and_replays(
    tiny_archive: Path, tiny_engine: Path, tmp_path: Path, many: Path
) -> None:
    """PyTorch and the exported model stop each text at the same exit, as a replay says."""
    policy = ["--policy", '{"type": "confidence", "threshold": {"negative": 0.52}}']
    written = tmp_path / "new.tar.gz", tmp_path / "engine"
    for target, run in zip(written, ([], ["--engine", tiny_engine])):
        found = report(
            tmp_path, tiny_archive, many, *policy, *RECALL, "--delta", 0.5, "--write", target, *run
        )["chosen"]
    wanted: Dict[str, Any] = {
        "type": "confidence",
        "threshold": {"*": found["threshold"], "negative": 0.52},
    }
    archive, exported = (sledgehammer.load(path) for path in written)
    assert archive.policy.config() == exported.policy.config() == wanted
    assert exported.manifest.policy == wanted and exported.choice_problem() is None
    texts = words(40)
    opened = open_archive(str(written[0]))
    for threshold in (None, {"positive": 0.53}, {"negative": 1.0, "*": 0.5}):
        answers = [m.predict(texts, threshold) for m in (archive, exported)]
        layers = [[answer["exit_layer"] for answer in some] for some in answers]
        assert layers[0] == layers[1]
        opened.model.policy.change({"threshold": {**wanted["threshold"], **(threshold or {})}})
        assert layers[0] == exits_of(opened.model, opened.reader, texts)
        streamed = list(exported.stream(texts, threshold, batch_size=7))
        assert [answer["exit_layer"] for answer in streamed] == layers[0]
    opened.model.policy.change({"threshold": wanted["threshold"]})
    rows = read_rows(opened.reader, str(many))
    mean = np.mean([layer + 1 for layer in exits_of(opened.model, opened.reader, [
        row.texts[0] for row in rows
    ])])  # fmt: skip
    assert mean == pytest.approx(found["mean_layers"])


def test_choosing_in_python(tiny_archive: Path, tiny_engine: Path, tmp_path: Path) -> None:
    texts = words(120)
    labels = [["negative", "positive"][number % 2] for number in range(120)]
    for path in (tiny_archive, tiny_engine):
        target = tmp_path / path.name
        chosen = sledgehammer.load(path).choose(
            texts, labels, target, delta=0.5, max_macro_f1_drop=0.95, recall="negative", tolerance=0.9,
            fixed={"positive": 0.75},
        )  # fmt: skip
        threshold = chosen.policy.config()["threshold"]
        assert threshold == 1.0 or (threshold["positive"] == 0.75 and threshold["*"] < 1.0)
        if chosen.is_exported:
            assert chosen.choice is not None and "max_accuracy_drop" not in chosen.choice.wanted
        with pytest.raises(EngineError, match="does not know the label 'x'; its labels are '"):
            chosen.choose(texts, labels, tmp_path / "y", recall="x", tolerance=0.1)
        with pytest.raises(EngineError, match="the label 'x', which the model does not know"):
            chosen.choose(texts, labels, tmp_path / "y", fixed={"x": 0.9})
        assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--recall", "positive"], "--recall LABEL and --tolerance E belong together"),
        (["--tolerance", 0.1], "--recall LABEL and --tolerance E belong together"),
        (["--recall", "x", "--tolerance", 0.1], "does not know the label 'x'; its labels are '"),
        (["--recall", "positive", "--tolerance", 2], "--tolerance must be between 0 and 1"),
        (["--max-macro-f1-drop", -1], "--max-macro-f1-drop must be between 0 and 1"),
        ([*MACRO_F1, "--delta", 0.1, "--each-exit"], "--each-exit guarantees either"),
        (["--policy", '{"threshold": {"positive": 0.9, "negative": 0.8}}'], "every label has a threshold of its"),
        (["--policy", '{"threshold": {"one": 0.9}}'], "its labels are '"),
        (["--policy", '{"threshold": {"positive": 0.9}}', "--max-inconsistency", 0.9, "--delta", 0.5,
          "--each-exit"], "--each-exit finds a threshold for each exit, not for each label"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(
    tiny_archive: Path, capsys: pytest.CaptureFixture, arguments: List[Any], message: str
) -> None:
    assert message in refused(TradeoffCommand(), capsys, tiny_archive, HELD_OUT, *arguments)


def test_thresholds_by_label_on_the_command_line(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "in.jsonl"
    rows: List[Dict[str, Any]] = [{"text": text} for text in words(12)]
    rows.append({"text": "film", "threshold": {"x": 0.5}})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    threshold = {"negative": 0.51, "positive": 1.0}
    status = cli.main([str(tiny_engine), str(file), "--threshold", json.dumps(threshold)])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = engine.load(tiny_engine).predict(words(12), threshold)
    assert [a["exit_layer"] for a in answers[:12]] == [a["exit_layer"] for a in expected]
    assert status == 3 and "the label 'x', which the model does not know" in answers[12]["error"]
    for wrong, message in (
        ('{"x": 0.5}', "its labels are"), ('{"negative": 5}', "threshold of 'negative' must be a number"),
        ("{", "is not JSON"),
    ):  # fmt: skip
        try:
            assert cli.main([str(tiny_engine), str(file), "--threshold", wrong]) != 0
        except SystemExit as stopped:
            assert stopped.code
        assert message in capsys.readouterr().err.strip().splitlines()[-1]
