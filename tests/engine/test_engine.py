"""What an exported model says, and that nothing but the text decides it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sledgehammer import engine
from sledgehammer.engine import Engine, EngineError
from sledgehammer.model.archives import Opened, open_archive

TEXTS = ["a good story", "dull", "", "bees " * 30, "two geese are a film about a boy , and bees ."]

# The engines are fixtures of the session: nothing in them changes from example to example.
FEW = settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module", params=["tiny_engine", "tiny_openvino"])
def classifier(request: pytest.FixtureRequest) -> Engine:
    return engine.load(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def opened(tiny_archive: Path) -> Opened:
    return open_archive(str(tiny_archive))


def same(got: List[Dict[str, Any]], expected: List[Dict[str, Any]]) -> None:
    for answer, wanted in zip(got, expected):
        assert answer["probs"] == pytest.approx(wanted["probs"], abs=1e-5)
        assert answer["exit_layer"] == wanted["exit_layer"]
    assert len(got) == len(expected)


def test_output_fields(classifier: Engine) -> None:
    (answer,) = classifier.predict(["a good story about bees"], threshold=1.0)
    assert list(answer) == [
        "label", "probs", "confidence", "exit_layer", "layers_run", "layer_speedup",
    ]  # fmt: skip
    assert sum(answer["probs"].values()) == pytest.approx(1.0)
    assert answer["label"] == max(answer["probs"], key=answer["probs"].get)
    assert answer["confidence"] == answer["probs"][answer["label"]]
    assert (answer["exit_layer"], answer["layers_run"], answer["layer_speedup"]) == (3, 4, 1.0)


def test_thresholds(classifier: Engine) -> None:
    layers = [a["exit_layer"] for a in classifier.predict(TEXTS, [0.0, 1.0, 0, 1, 0.0])]
    assert layers == [0, 3, 0, 3, 0]
    assert {a["exit_layer"] for a in classifier.predict(TEXTS, 0.0)} == {0}
    assert {a["exit_layer"] for a in classifier.predict(TEXTS, np.ones(5))} == {3}
    own = classifier.policy.threshold
    same(classifier.predict(TEXTS), classifier.predict(TEXTS, own))


def test_thresholds_are_compared_in_single_precision(classifier: Engine) -> None:
    """A text alone too: the difference to its confidence is there in double precision alone."""
    for text in TEXTS:
        (first,) = classifier.predict([text], 0.0)
        (again,) = classifier.predict([text], first["confidence"] * (1 + 1e-12))
        assert again["exit_layer"] == 0


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5", True, [0.5], [0.5, "a"]])
def test_bad_thresholds(classifier: Engine, threshold: Any) -> None:
    with pytest.raises(EngineError, match="between 0 and 1|1 values of threshold for 2 texts"):
        classifier.predict(["a", "b"], threshold)


def test_any_setting_by_its_name(classifier: Engine) -> None:
    capped = classifier.predict(TEXTS, 1.0, max_exit_layer=2)
    assert {answer["exit_layer"] for answer in capped} == {2}
    each = classifier.predict(TEXTS, 1.0, max_exit_layer=[0, 1, 2, 3, 99])
    assert [answer["exit_layer"] for answer in each] == [0, 0, 2, 3, 3]
    streamed = list(classifier.stream(TEXTS, threshold=1.0, max_exit_layer=2))
    assert [answer["exit_layer"] for answer in streamed] == [2] * 5
    with pytest.raises(EngineError, match="has no setting 'patience'; it has threshold, max_exit"):
        classifier.predict(TEXTS, patience=2)
    with pytest.raises(EngineError, match="max_exit_layer must be a whole number"):
        classifier.predict(TEXTS, max_exit_layer=0.5)


def test_bad_texts(classifier: Engine) -> None:
    assert classifier.predict([]) == []
    with pytest.raises(EngineError, match="not one text"):
        classifier.predict("a good story")
    with pytest.raises(EngineError, match="text 1 must be a string, got None"):
        classifier.predict(["a", None])  # type: ignore[list-item]
    with pytest.raises(EngineError, match="lone surrogate"):
        classifier.predict(["\ud800"])


rows = st.lists(
    st.tuples(
        st.lists(st.sampled_from("a good dull film about bees , geese .".split()), max_size=20),
        st.sampled_from([0.0, 1.0]),
    ),
    min_size=1,
    max_size=12,
)


@FEW
@given(rows, st.randoms(use_true_random=False), st.integers(1, 12))
def test_a_row_is_the_same_alone_in_a_batch_and_in_any_order(
    classifier: Engine, given_rows: Any, generator: Any, batch_size: int
) -> None:
    texts = [" ".join(words) for words, _ in given_rows]
    thresholds = [threshold for _, threshold in given_rows]
    alone = [classifier.predict([t], own)[0] for t, own in zip(texts, thresholds)]
    same(classifier.predict(texts, thresholds, batch_size), alone)
    order = list(range(len(texts)))
    generator.shuffle(order)
    shuffled = classifier.predict(
        [texts[i] for i in order], [thresholds[i] for i in order], batch_size
    )
    same(shuffled, [alone[i] for i in order])


@FEW
@given(st.lists(st.lists(st.integers(5, 60), max_size=20), min_size=1, max_size=6))
def test_logits_are_the_archives(classifier: Engine, opened: Opened, pieces: Any) -> None:
    longest = max(map(len, pieces)) + 2
    ids = np.zeros((len(pieces), longest), np.int64)
    for row, own in zip(ids, pieces):
        row[: len(own) + 2] = [2, *own, 3]
    mask = (ids > 0).astype(np.int64)
    tokens = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    with torch.no_grad():
        expected = opened.model.runner.run_all_exits(
            {name: torch.from_numpy(array) for name, array in tokens.items()}
        ).logits
    taken = {name: tokens[name] for name in classifier.manifest.inputs}
    np.testing.assert_allclose(classifier.run_all_exits(taken)[0], expected.numpy(), atol=1e-4)


def test_answers_are_the_archives(classifier: Engine, opened: Opened) -> None:
    for threshold in (0.0, 1.0):
        opened.model.policy.threshold = threshold
        instances = [opened.reader.text_to_instance(text) for text in TEXTS]
        expected = opened.model.forward_on_instances(instances)
        same(classifier.predict(TEXTS, threshold), expected)


def test_two_threads_say_what_one_says(classifier: Engine) -> None:
    batches = [[f"{text} {number}" for text in TEXTS] for number in range(20)]
    expected = [classifier.predict(batch, 1.0, batch_size=2) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda batch: classifier.predict(batch, 1.0, batch_size=2), batches))
    for own, wanted in zip(got, expected):
        same(own, wanted)


WRONG_ARGUMENTS: List[Any] = [
    ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
    ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ({"batch_size": 2.5}, "batch_size must be a whole number, got 2.5"),
    ({"batch_size": "8"}, "batch_size must be a whole number, got '8'"),
    ({"batch_size": True}, "batch_size must be a whole number, got True"),
    ({"threshold": "0.5"}, "threshold must be a number between 0 and 1, got '0.5'"),
    ({"threshold": np.array(2.0)}, "threshold must be a number between 0 and 1, got 2.0"),
    ({"threshold": np.bool_(True)}, "threshold must be a number between 0 and 1, got True"),
]


@pytest.mark.parametrize("arguments, message", WRONG_ARGUMENTS)
def test_wrong_arguments(tiny_engine: Path, arguments: Dict[str, Any], message: str) -> None:
    classifier = engine.load(tiny_engine)
    with pytest.raises(engine.EngineError, match=message):
        classifier.predict(["a"], **arguments)
    with pytest.raises(engine.EngineError, match=message):
        classifier.stream(["a"], **arguments)


@pytest.mark.parametrize("texts", ["a", b"a", None, 3, {"text": "a"}, {"a"}])
def test_what_are_no_texts(tiny_engine: Path, texts: Any) -> None:
    classifier = engine.load(tiny_engine)
    for answer in (classifier.predict, classifier.stream):
        with pytest.raises(engine.EngineError, match="give an? (list|iterable) of texts, not"):
            answer(texts)


@pytest.mark.parametrize(
    "arguments", [{"max_delay": -1}, {"max_delay": 1.5}, {"max_wait": -1}, {"max_wait": "soon"}]
)
def test_wrong_arguments_of_streams(tiny_engine: Path, arguments: Dict[str, Any]) -> None:
    with pytest.raises(engine.EngineError, match="must be"):
        engine.load(tiny_engine).stream(["a"], **arguments)


@pytest.mark.parametrize("threads", [0, -1, "all"])
def test_wrong_threads(tiny_engine: Path, threads: Any) -> None:
    with pytest.raises(engine.EngineError, match="threads must be"):
        engine.load(tiny_engine, threads)


@pytest.mark.parametrize("threshold", [np.float32(0.5), np.float64(0.5), np.array(0.5)])
def test_streams_take_numpy_scalars_as_predict_does(tiny_engine: Path, threshold: Any) -> None:
    classifier = engine.load(tiny_engine)
    (wanted,) = classifier.predict(["a"], 0.5)
    assert classifier.predict(["a"], threshold, batch_size=np.int64(1)) == [wanted]
    assert list(classifier.stream(["a"], threshold, batch_size=np.int64(1))) == [wanted]
    (own,) = classifier.stream([engine.Item("a", threshold, {"max_exit_layer": np.int64(0)})])
    assert own["exit_layer"] == 0


def test_truncated_texts_say_so(tiny_engine: Path) -> None:
    classifier = engine.load(tiny_engine)
    texts = ["bee", "bee " * 600, "a"]
    for answers in (classifier.predict(texts), list(classifier.stream(texts, batch_size=2))):
        assert [answer.get("truncated") for answer in answers] == [None, True, None]
