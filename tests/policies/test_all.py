"""What holds for every policy there is, those of tomorrow too."""

import json
import math
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from sledgehammer.analysis.all_exits import replayed_answers, run_all_exits
from sledgehammer.dataset_readers import SstReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.engine import EngineError
from sledgehammer.export.directory import Format, export
from sledgehammer.model.archive_writing import write_changed
from sledgehammer.model.archives import open_archive
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.model.policy_config import RegisteredPolicy
from sledgehammer.model.predictor import SledgehammerPredictor
from sledgehammer.policies import Evidence, ExitPolicy, RowSettings, SettingRange, exit_shares
from tests.conftest import FIXTURES, TINY_BERT
from tests.network.test_runner import batch_of, random_rows
from tests.policies.seen import LAYERS, bound, random_evidence
from tests.tiny_training import train

NAMES = RegisteredPolicy.list_available()
EXITS = 4


def some_settings(policy: ExitPolicy, rows: int, seed: int) -> RowSettings:
    """Of each row its own value of the swept setting, and perhaps a cap."""
    rng = np.random.default_rng(seed)
    grid = policy.grid(labels=3)
    caps: List[Any] = [None, *policy.layers]
    chosen: List[Dict[str, Any]] = [
        {policy.sweeps: grid[rng.integers(len(grid))], "max_exit_layer": caps[rng.integers(len(caps))]}
        for _ in range(rows)
    ]  # fmt: skip
    return RowSettings.join([policy.settings_for(given) for given in chosen])


def rows_of(evidence: Evidence, rows: Any) -> Evidence:
    return Evidence(
        evidence.probs[rows], {name: signal[rows] for name, signal in evidence.signals.items()}
    )


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), exits=st.integers(1, 5))
def test_a_row_is_decided_the_same_alone_and_in_any_batch(name: str, seed: int, exits: int) -> None:
    policy = bound(ExitPolicy.make({"type": name}), exits)
    evidence = random_evidence(seed, rows=7, exits=exits)
    own = some_settings(policy, 7, seed)
    together = policy.replay(evidence, own)
    order = np.random.default_rng(seed).permutation(7)
    shuffled = policy.replay(rows_of(evidence, order), own.of(order))
    assert shuffled.tolist() == together[order].tolist()
    for row in range(7):
        alone = own.of([row])
        assert all(isinstance(value, float) for value in alone.values())
        assert policy.replay(rows_of(evidence, [row]), alone).tolist() == [together[row]]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), nudge=st.sampled_from([0.0, 1e-12, -1e-12]))
def test_settings_are_compared_in_single_precision(name: str, seed: int, nudge: float) -> None:
    """A single row too, for which a policy may compare numbers that are not of an array."""
    policy = bound(ExitPolicy.make({"type": name}), EXITS)
    evidence = random_evidence(seed, rows=5, exits=EXITS)
    reached = policy.distinct(evidence)
    value = reached[seed % len(reached)] * (1 + nudge)
    own = policy.values.with_value(policy.sweeps, value)
    together = policy.replay(
        evidence, policy.values.with_value(policy.sweeps, [value] * 5)
    ).tolist()
    assert policy.replay(evidence, own).tolist() == together
    assert [policy.replay(rows_of(evidence, [row]), own).item() for row in range(5)] == together


@pytest.mark.parametrize("name", NAMES)
def test_the_ends_of_the_grid(name: str) -> None:
    """The first value is fastest, the last one the full model, however sure everything is."""
    policy = bound(ExitPolicy.make({"type": name}), EXITS)
    certain = Evidence(
        np.tile(np.array([1.0, 0.0, 0.0], np.float32), (2, EXITS, 1)),
        {
            "certainty": np.ones((2, EXITS), np.float32),
            "depth": np.eye(EXITS, dtype=np.float32)[:2],
        },
    )
    grid = policy.grid(labels=3)
    assert grid[-1] == policy.full and len(set(grid)) == len(grid)
    for evidence in (certain, random_evidence(0, 20, EXITS)):
        rows = len(evidence.probs)
        at = [policy.replay(evidence, policy.values.with_value(policy.sweeps, v)) for v in grid]
        assert (at[-1] == EXITS - 1).all()
        assert len(set(at[0].tolist())) == 1 and at[0][0] <= 1
        assert all((low <= high).all() for low, high in zip(at, at[1:])), "ever slower"
        plan = policy.plan(
            rows, evidence.signals, policy.values.with_value(policy.sweeps, policy.full)
        )
        assert plan is not None and (plan == EXITS - 1).all()
        distinct = policy.distinct(evidence)
        assert distinct[-1] == policy.full and len(set(distinct)) == len(distinct)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "budget"])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_distinct_values_are_all_there_is(name: str, seed: int) -> None:
    """Between two neighbours the answers are those of the slower one. (A budget has its grid.)"""
    policy = bound(ExitPolicy.make({"type": name}), EXITS)
    evidence = random_evidence(seed, rows=5, exits=EXITS)

    def answered(value: float) -> List[int]:
        return policy.replay(evidence, policy.values.with_value(policy.sweeps, value)).tolist()

    distinct = policy.distinct(evidence)
    for fast, slow in zip(distinct, distinct[1:]):
        middle = float(np.float32((fast + slow) / 2))
        if min(fast, slow) < middle < max(fast, slow):
            assert answered(middle) == answered(slow)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cap", [0, 1, 2, 3, 4, 5, 100])
def test_no_row_runs_beyond_the_cap(name: str, cap: int) -> None:
    policy = bound(ExitPolicy.make({"type": name, "max_exit_layer": cap}), EXITS)
    evidence = random_evidence(3, rows=30, exits=EXITS)
    free = policy.replay(evidence, policy.values.with_value("max_exit_layer", math.inf))
    highest = max(i for i, layer in enumerate(LAYERS[:EXITS]) if layer <= cap)
    if name != "budget":  # which uses what the cap saves
        assert policy.replay(evidence).tolist() == np.minimum(free, highest).tolist()
    full = policy.values.with_value(policy.sweeps, policy.full)
    assert policy.replay(evidence, full).tolist() == [highest] * 30
    own = full.with_value("max_exit_layer", np.full(30, cap, np.float32))
    assert policy.replay(evidence, own).tolist() == [highest] * 30


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_validated(name: str) -> None:
    policy = bound(ExitPolicy.make({"type": name}), EXITS)
    for bad in (float("nan"), -1, True, "1", [1], float("inf")):
        for setting in policy.settings:
            with pytest.raises(ValueError, match=f"{setting} must be"):
                policy.settings_for({setting: bad})
    with pytest.raises(ValueError, match=f"has no setting 'colour'; it has {policy.sweeps}"):
        policy.settings_for({"colour": 1})
    with pytest.raises(ConfigurationError, match="has no setting 'colour'"):
        RegisteredPolicy.from_params(Params({"type": name, "colour": 1}))
    late = ExitPolicy.make({"type": name})
    late.bind(
        bound(ExitPolicy.make({"type": name})).exits.__class__([2, 4], ["certainty", "depth"])
    )
    with pytest.raises(ValueError, match="max_exit_layer must be at least 2, the layer of the"):
        late.settings_for({"max_exit_layer": 1})
    made = ExitPolicy.make(json.loads(json.dumps(policy.config())))
    assert type(made) is type(policy) and made.config() == policy.config()


def test_unknown_names_list_those_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match="there is no policy 'hope'; there are budget, con"
    ):
        RegisteredPolicy.from_params(Params({"type": "hope"}))
    with pytest.raises(ConfigurationError, match="there is no policy 'hope'"):
        RegisteredPolicy.resolve_class_name("hope")
    assert NAMES[0] == "confidence" and "patience" in NAMES


@pytest.fixture
def own_policy() -> Iterator[str]:
    @RegisteredPolicy.register("every_second")
    class EverySecond(ExitPolicy):
        """Stop at the second exit."""

        settings = {"second": SettingRange(default=0.0)}
        sweeps = "second"

        def stops(self, evidence: Evidence, settings: RowSettings) -> ndarray:
            return np.full(len(evidence.probs), evidence.probs.shape[1] == 2)

    yield "every_second"
    del ExitPolicy._registry["every_second"]


def test_a_policy_of_ones_own(own_policy: str) -> None:
    policy = bound(RegisteredPolicy.from_params(Params({"type": own_policy})))
    assert policy.replay(random_evidence(0, 3, 3)).tolist() == [1, 1, 1]
    assert own_policy in RegisteredPolicy.list_available()
    with pytest.raises(ValueError, match="there is a policy 'every_second' already"):
        ExitPolicy.register(own_policy)(type(policy))


@pytest.fixture(scope="module")
def signalling() -> MultiExitClassifier:
    """A model with signals, whose exits say this and that."""
    torch.manual_seed(1)
    vocab = Vocabulary()
    for label in ("negative", "positive"):
        vocab.add_token_to_namespace(label, "labels")
    model = MultiExitClassifier(
        vocab, [0, 1, 2, 3], model_name=TINY_BERT, pooling="mean", signals=["certainty", "depth"]
    ).eval()
    with torch.no_grad():
        for head in (*model.exits.parameters(), *model.depth.parameters()):  # type: ignore[union-attr]
            head.copy_(3 * torch.randn(head.shape))
        tokens = batch_of(random_rows(80, seed=1))
        logits, signals = model.runner.run_all_exits(tokens)
        # So that each exit has both labels, is sure of some rows, and is the right depth of some.
        for exit, head in enumerate(model.exits):
            head.linear.bias[0] -= (logits[:, exit, 0] - logits[:, exit, 1]).median()
            head.halting.bias -= signals["certainty"][:, exit].logit(eps=1e-6).median()
        model.depth.linear.bias -= signals["depth"].clamp(min=1e-6).log().median(dim=0).values  # type: ignore[union-attr]
        logits = model.runner.run_all_exits(tokens).logits
        model.store_shares(exit_shares(model.calibrated(logits).numpy()))
    return model


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_running_until_answered_is_what_the_replay_says(
    signalling: MultiExitClassifier, name: str
) -> None:
    signalling.policy = policy = ExitPolicy.make({"type": name})
    tokens = batch_of(random_rows(25, seed=9))
    found = signalling.runner.run_all_exits(tokens)
    grid = policy.grid(2)
    everywhere = set()
    cases: List[Any] = [{policy.sweeps: v} for v in (grid[0], grid[len(grid) // 2], grid[-1])]
    for given_settings in [*cases, {**cases[-1], "max_exit_layer": 2}, None]:
        if given_settings is None:
            own = some_settings(policy, 25, seed=2)
        else:
            own = RowSettings({**policy.values, **given_settings})
        expected = signalling.answer(found.logits, own, found.signals)
        answers = signalling.runner.run_until_answered(tokens, signalling.temperatures, policy, own)
        assert answers.exit.tolist() == expected.exit.tolist()
        torch.testing.assert_close(answers.probs, expected.probs, rtol=1e-4, atol=1e-5)
        everywhere |= set(answers.exit.tolist())
    assert len(everywhere) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_only_exits_that_answer_are_computed_if_that_is_known_before(
    signalling: MultiExitClassifier, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalling.policy = policy = ExitPolicy.make({"type": name})
    policy.swept = policy.grid(2)[len(policy.grid(2)) // 3]
    asked: List[int] = []
    for position, head in enumerate(signalling.exits):
        original = head.logits

        def logits(pooled: Any, position: int = position, original: Any = original) -> Any:
            asked.append(position)
            return original(pooled)

        monkeypatch.setattr(head, "logits", logits)
    layers = set()
    for row in random_rows(12, seed=4):
        asked.clear()
        with torch.no_grad():
            layer = int(signalling(batch_of([row]))["exit_layer"])
        layers.add(layer)
        if type(policy).plan is not ExitPolicy.plan:  # it decides before the run
            assert asked == [layer]
        else:
            assert asked == list(range(layer + 1))
    assert len(layers) > 1


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_a_predictor_and_of_a_line(
    signalling: MultiExitClassifier, sst_reader: SstReader, name: str
) -> None:
    signalling.policy = policy = ExitPolicy.make({"type": name})
    predictor = SledgehammerPredictor(signalling, sst_reader, **{policy.sweeps: policy.full})
    text = {"text": "a good story about bees"}
    fastest = policy.grid(2)[0]
    lines = [text, {**text, policy.sweeps: fastest}, {**text, "max_exit_layer": 1}]
    bad = [{**text, policy.sweeps: -1}, {**text, "max_exit_layer": -1}]
    bad.append({**text, "patience" if policy.sweeps == "speed" else "speed": 1})
    outputs = predictor.predict_batch_json(
        [predictor.load_line(json.dumps(line)) for line in [*lines, *bad]]
    )
    assert [output["exit_layer"] for output in outputs[::2][:2]] == [3, 1]
    assert outputs[1]["exit_layer"] <= 1
    assert [output["line"] for output in outputs[3:]] == [4, 5, 6]
    assert f"it has {policy.sweeps}" in outputs[5]["error"]
    with pytest.raises(ConfigurationError, match="has no setting 'colour'"):
        SledgehammerPredictor(signalling, sst_reader, colour=1)


@pytest.fixture(scope="module")
def signalling_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("signals") / "run"
    train(directory, model__signals=["certainty", "depth"], trainer__num_epochs=1)
    return directory / "model.tar.gz"


@pytest.mark.parametrize(
    "name, runtime",
    [*((name, "onnx") for name in NAMES),
     *((name, "openvino") for name in NAMES if ExitPolicy.by_name(name).needs)],
)  # fmt: skip
def test_exported_it_answers_as_the_archive(
    signalling_archive: Path, tmp_path: Path, name: str, runtime: str
) -> None:
    for library in ("onnx", "onnxruntime", runtime.replace("onnx", "onnxruntime")):
        pytest.importorskip(library)
    archive = tmp_path / "model.tar.gz"
    write_changed(str(signalling_archive), archive, {}, policy={"type": name})
    opened = open_archive(str(archive))
    policy = opened.model.policy
    (tmp_path / "engine").mkdir()
    engine = export(str(archive), opened, Format(runtime, "fp32"), tmp_path / "engine")
    assert engine.policy.config() == policy.config()
    rows = read_rows(opened.reader, str(FIXTURES / "sst/train.txt"))
    texts = [row.texts[0] for row in rows]
    outputs = run_all_exits(*opened, rows)
    grid = policy.grid(2)
    for value in (grid[0], grid[len(grid) // 2], grid[-1]):
        for cap in (None, 2):
            policy.change({policy.sweeps: value, "max_exit_layer": cap})
            layers = [
                opened.model.exit_layers[e] for e in replayed_answers(opened.model, outputs).exit
            ]
            answers = engine.predict(texts, **{policy.sweeps: value, "max_exit_layer": cap})
            assert [answer["exit_layer"] for answer in answers] == layers
    with pytest.raises(EngineError, match="has no setting 'colour'"):
        engine.predict(texts, colour=3)
    exported = open_archive(str(tmp_path / "engine"))
    exported.model.policy.change({policy.sweeps: value, "max_exit_layer": 2})
    again = replayed_answers(exported.model, run_all_exits(*exported, rows)).exit.tolist()
    assert [opened.model.exit_layers[e] for e in again] == layers


def test_what_an_archive_lacks_is_said_before_anything_runs(tiny_archive: Path) -> None:
    for name, signal in (("learned_halting", "certainty"), ("predicted_depth", "depth")):
        overrides = json.dumps({"model.policy": {"type": name}})
        with pytest.raises(ConfigurationError, match=f'"model.signals": ."{signal}".'):
            open_archive(str(tiny_archive), overrides=overrides)
    overrides = json.dumps({"model.policy": {"type": "confidence", "max_exit_layer": 99}})
    assert open_archive(str(tiny_archive), overrides=overrides).model.policy.max_exit_layer == 99
