"""`sledgehammer fit`: from a table to an exported model, and its brother in Python."""

import json
import pickle
import random
import re
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import sledgehammer
from sledgehammer.commands.fit import Fit
from sledgehammer.commands.fit_plan import (
    FitOptions,
    affordable_rows,
    config_of,
    exits_of,
    make_plan,
)
from sledgehammer.commands.fit_report import _spread
from sledgehammer.commands.fit_run import _written_or_removed
from sledgehammer.commands.programs import rows_of
from sledgehammer.engine import EngineError
from sledgehammer.engine.curve import Curve
from sledgehammer.engine.manifest import CARD
from sledgehammer.engine.speed import Speed
from sledgehammer.model.archive_files import read_member
from sledgehammer.model.archives import open_archive
from tests.cli import refused, run_command
from tests.conftest import TINY_BERT

WORDS = {"good": ["good", "great", "fun", "lovely"], "bad": ["bad", "dull", "awful", "poor"]}
FILLERS = ["film", "story", "cast", "plot", "end", "scene", "actor", "music"]


def texts_and_labels(count: int = 400) -> Tuple[List[str], List[str]]:
    drawn = random.Random(0)
    labels = [drawn.choice(["good", "bad"]) for _ in range(count)]
    texts = []
    for label in labels:
        words = [drawn.choice(WORDS[label]), *drawn.choices(FILLERS, k=drawn.randint(3, 9))]
        drawn.shuffle(words)
        texts.append(" ".join(words))
    return texts, labels


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "films.csv"
    lines = [f"{label};{text}\n" for text, label in zip(*texts_and_labels())]
    path.write_text("verdict;what\n" + "".join(lines))
    return path


@pytest.fixture(scope="module")
def fitted(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    output = tmp_path_factory.mktemp("fit") / "deeper/films"
    run_command(
        Fit(), str(table), "--text", "what", "--label", "verdict", "-o", str(output), "--backbone",
        TINY_BERT, "--epochs", "1", "--max-accuracy-drop", "0.2", "--class-weights", "auto",
    )  # fmt: skip
    return output


def test_what_is_written(fitted: Path) -> None:
    assert {path.name for path in fitted.iterdir()} >= {
        "config.json", "model.tar.gz", "engine", "report.json", "commands.sh", "fit.log",
    }  # fmt: skip
    config = json.loads((fitted / "config.json").read_text())
    assert config["model"]["class_weights"] == "auto"
    assert config["dataset_reader"]["shares"]["test"] == 0.15
    script = (fitted / "commands.sh").read_text()
    assert "sledgehammer train" in script and "sledgehammer tradeoff" in script


def test_the_exported_model_carries_what_was_measured_on_the_test_rows(
    fitted: Path, table: Path
) -> None:
    report = json.loads((fitted / "report.json").read_text())
    curve, speed = Curve.load(fitted / "engine"), Speed.load(fitted / "engine")
    assert curve is not None and speed is not None
    assert curve.data == f"{table}#test" and curve.rows == report["rows"]["test"]
    assert curve.used_for == {"temperatures": 0, "threshold": 0}
    assert curve.default["accuracy"] == pytest.approx(report["chosen"]["accuracy"])
    assert speed.early_seconds == report["seconds_per_text"]["early"]
    for card in (fitted / "engine" / CARD, fitted / CARD):
        text = card.read_text()
        assert "# films\n" in text and "rows of `films.csv#test`" in text
        assert f"{1000 * speed.full_seconds:.1f} ms with all layers" in text
        assert "With probability at least 0.9" in text
    assert "# films\n" in read_member(str(fitted / "model.tar.gz"), CARD).decode()


def test_the_threshold_is_guaranteed_on_rows_that_had_no_part(fitted: Path, table: Path) -> None:
    report = json.loads((fitted / "report.json").read_text())
    assert report["guarantee"]["guaranteed"]
    opened = open_archive(str(fitted / "engine"))
    threshold = opened.model.policy.config()["threshold"]
    assert threshold == report["guarantee"]["threshold"]
    seen = opened.model.seen
    sizes = {name: len(getattr(seen, name)) for name in ("temperatures", "threshold")}
    assert sizes["threshold"] <= report["rows"]["calibration"]
    assert sizes["temperatures"] <= report["rows"]["validation"]
    assert not torch.isin(seen.threshold, torch.cat([seen.weights, seen.temperatures])).any()
    assert sum(report["rows"].values()) == 400


def test_what_is_printed(
    fitted: Path, table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from sledgehammer.commands.fit_report import print_plan, report_fit

    options = FitOptions(str(table), ["what"], "verdict", fitted, backbone=TINY_BERT)
    plan = make_plan(options)
    print_plan(options, plan)
    report_fit(options, plan)
    shown = capsys.readouterr().out
    assert "400 rows\nlabels     " in shown and "full model" in shown and "chosen" in shown
    assert re.search(r"of the full model \([+-]\d+\.\d points\)", shown)
    assert "ms instead of" in shown and "Ten test texts" in shown
    short = [
        line for line in shown.splitlines() if not line.startswith(("data ", "model ", "wrote"))
    ]
    assert max(map(len, short)) <= 100


def test_commands_read_what_fit_read(
    fitted: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sledgehammer.commands.difficulty import Difficulty

    run_command(Difficulty(), str(fitted / "model.tar.gz"), f"{table}#test")
    assert "easiest" in capsys.readouterr().out


def test_fewer_rows_where_minutes_are_few(table: Path, tmp_path: Path) -> None:
    options = FitOptions(
        str(table), ["what"], "verdict", tmp_path / "x", backbone=TINY_BERT, minutes=1e-4
    )
    plan = make_plan(options)
    assert plan.training_rows == 64 < plan.rows["train"]
    assert plan.config["trainer"]["num_epochs"] == 1
    shares = plan.config["dataset_reader"]["shares"]
    assert shares["train"] == pytest.approx(0.6 * 64 / plan.rows["train"])
    assert "train" not in plan.config["validation_dataset_reader"]["shares"]


@pytest.mark.parametrize(
    "budget, epochs, expected",
    [
        (3300, (1, 3), (1000, 3)),
        (3299, (1, 3), (1000, 2)),
        (1100, (1, 3), (1000, 1)),
        (600, (1, 3), (500, 1)),
        (600, (3, 3), (100, 3)),
        (0, (1, 3), (64, 1)),
    ],
)
def test_passes_are_cut_before_rows(
    budget: float, epochs: "tuple[int, int]", expected: "tuple[int, int]"
) -> None:
    assert affordable_rows(budget, 1000, 300, epochs) == expected


def test_exits_of_deeper_networks() -> None:
    assert exits_of(6) == [0, 1, 2, 5]
    assert exits_of(12) == [1, 3, 5, 11]
    assert exits_of(24) == [3, 7, 11, 23]
    assert exits_of(1) == [0]


def test_the_objective_and_columns_reach_the_config(tmp_path: Path) -> None:
    options = FitOptions(
        "a.jsonl", ["q"], "y", tmp_path, {"second_text": "a", "group": "who"}, TINY_BERT, "sweet"
    )
    config = config_of(options)
    assert config["model"]["objective"] == {"type": "sweet"}
    reader = config["dataset_reader"]
    assert (reader["type"], reader["second_text"], reader["group"]) == (
        "sledgehammer_jsonl", "a", "who",
    )  # fmt: skip


BAD_COMMANDS: Any = [
    (["none.csv"], "no data at 'none.csv'"),
    (["{table}", "--text", "words"], "no column 'words': the columns are verdict, what"),
    (["{table}#train", "--text", "what"], "names a part"),
    (["{table}", "--delta", "0"], "delta must be between 0 and 1"),
    (["{table}", "--class-weights", "{{"], "neither auto nor JSON"),
    (["{one}", "--label", "label"], "has one label, 'x': two are needed"),
    (["{few}", "--label", "label"], "rows to train on: 64 are needed"),
]


@pytest.mark.parametrize("arguments, message", BAD_COMMANDS)
def test_mistakes_leave_nothing_behind(
    arguments: List[str], message: str, table: Path, tmp_path: Path, capsys: Any
) -> None:
    files = {"table": table, "one": tmp_path / "one.csv", "few": tmp_path / "few.csv"}
    files["one"].write_text("text,label\n" + "".join(f"t{i},x\n" for i in range(200)))
    files["few"].write_text("text,label\n" + "".join(f"t{i},{'xy'[i % 2]}\n" for i in range(50)))
    filled = [argument.format(**files) for argument in arguments]
    defaults = ["--label", "verdict", "--backbone", TINY_BERT, "-o", str(tmp_path / "new")]
    error = refused(Fit(), capsys, filled[0], *defaults, *filled[1:])
    assert re.search(message, error), error
    assert not (tmp_path / "new").exists()


def test_other_folders_are_not_replaced(table: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine").write_text("")
    assert "exists" in refused(Fit(), capsys, str(table), "-o", str(tmp_path))
    error = refused(Fit(), capsys, str(table), "-o", str(tmp_path), "--force")
    assert "not a folder that fit wrote" in error and (tmp_path / "mine").exists()


def test_a_run_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text("old")
    for name in ("old", "new/deeper"):
        with pytest.raises(KeyboardInterrupt), _written_or_removed(tmp_path / name) as folder:
            (folder / "config.json").write_text("half")
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old/config.json").read_text() == "old"


def test_texts_of_every_exit_are_shown_in_order() -> None:
    answers = [{"exit_layer": 0, "confidence": i / 100} for i in range(90)]
    answers += [{"exit_layer": 3, "confidence": 0.5}]
    shown = _spread(answers, [0, 2, 3])
    assert len(shown) == 10 and shown[-1] == 90
    assert shown[:9] == sorted(shown[:9], reverse=True)
    assert _spread(answers[:3], [0, 2, 3]) == [2, 1, 0]


def test_models_in_python(fitted: Path, tmp_path: Path) -> None:
    """Archive and engine have one interface; learning writes another model and opens it."""
    texts, labels = texts_and_labels(60)
    texts = [f"{text} again {number}" for number, text in enumerate(texts)]
    for path, kind in ((fitted / "engine", "engine"), (fitted / "model.tar.gz", "archive")):
        model = sledgehammer.load(path)
        assert model.is_exported == (kind == "engine")
        assert sorted(model.labels) == ["bad", "good"]
        points = model.curve(texts, labels)
        assert points[0].mean_layers < points[-1].mean_layers == 4
        chosen = model.choose(texts, np.array(labels), tmp_path / f"{kind}.new", 0.5, 0.2)
        assert chosen.choice is None or chosen.choice.delta == 0.2
        assert len(chosen.predict(texts)) == 60
        with pytest.raises(EngineError, match="exists"):
            model.choose(texts, labels, tmp_path / f"{kind}.new", 0.5, 0.2)
    calibrated = model.calibrate(texts, labels, tmp_path / "calibrated", few_rows=True)
    exported = calibrated.export(tmp_path / "exported", precision="fp32")
    assert exported.is_exported
    assert exported.manifest.temperatures == pytest.approx(calibrated.manifest.temperatures)
    with pytest.raises(EngineError, match="exported"):
        exported.calibrate(texts, labels, tmp_path / "z", few_rows=True)
    with pytest.raises(EngineError, match="60 texts, but 2 labels"):
        model.curve(texts, ["good", "bad"])


def test_data_of_an_earlier_fit_stay_where_a_new_one_fails(tmp_path: Path) -> None:
    """Where nothing is trained, the rows beside the old model are still those it was trained on."""
    earlier = tmp_path / "data.jsonl"
    earlier.write_text("old")
    with pytest.raises(EngineError, match="has no rows"):
        sledgehammer.fit(["a", "b"], ["x", "y"], tmp_path, force=True, backbone=TINY_BERT)
    assert earlier.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_texts_of_programs() -> None:
    labels = np.array([1, 0])
    assert [row.label for row in rows_of(["a", "b"], labels)] == ["1", "0"]
    assert rows_of([("a", "b")], [True])[0].texts == ["a", "b"]
    bad: Any = [
        ("ab", ["x"]), (["a"], []), ([3], ["x"]), (["a"], [0.5]), (["a"], [None]), ([], []),
        (["a", ("b", "c")], ["x", "y"]), ([("a", "b", "c")], ["x"]), (["a"], [float("nan")]),
    ]  # fmt: skip
    for texts, wrong in bad:
        with pytest.raises(ConfigurationError):
            rows_of(texts, wrong)


def test_scikit_learn(tmp_path: Path) -> None:
    """It works in a pipeline, in a search, and in a pickle; classes keep their type."""
    pytest.importorskip("onnxruntime")
    texts, names = texts_and_labels(300)
    labels = np.array([int(name == "good") for name in names])
    model = sledgehammer.SledgehammerClassifier(
        backbone=TINY_BERT, epochs=1, output=str(tmp_path), max_accuracy_drop=0.2
    )
    pipeline = Pipeline([("lower", FunctionTransformer(_lower)), ("model", model)])
    search = GridSearchCV(pipeline, {"model__threshold": [0.5]}, cv=2, error_score="raise")
    search.fit(np.array(texts), labels)
    assert search.best_score_ > 0.6
    best = search.best_estimator_.named_steps["model"]
    assert best.classes_.tolist() == [0, 1]
    probs = best.predict_proba(texts[:5])
    assert probs.shape == (5, 2) and np.allclose(probs.sum(axis=1), 1, atol=1e-4)
    again = pickle.loads(pickle.dumps(best))
    assert again.predict(texts).tolist() == best.predict(texts).tolist()
    assert set(best.exit_layers(texts)) <= {-1, 0, 1, 3}
    with pytest.raises(ValueError, match="text 2 must be a string"):
        best.predict(["a", 3])


def _lower(texts: Any) -> Any:
    return [text.lower() for text in texts]
