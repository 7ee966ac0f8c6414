"""How policies count an exit before the first layer: at position 0, with the layer -1."""

from typing import List

import numpy as np
import pytest

from sledgehammer.policies import Evidence, ExitPolicy, Exits, RowSettings, exit_shares
from sledgehammer.policies.evidence import Evidence as Seen
from tests.policies.seen import WITH_LEXICAL, bound, random_evidence, two_labels

NAMES = ExitPolicy.list_available()
EXITS = 4


def with_lexical(policy: ExitPolicy) -> ExitPolicy:
    return bound(policy, EXITS, WITH_LEXICAL)


def evidence(rows: int = 50) -> Seen:
    """Of a model with a lexical exit, whose share in the depth is 0."""
    found = random_evidence(0, rows, EXITS)
    depth = found.signals["depth"].copy()
    depth[:, 0] = 0
    depth /= depth.sum(axis=1, keepdims=True)
    return Evidence(found.probs, {**found.signals, "depth": depth})


@pytest.mark.parametrize("name", NAMES)
def test_a_cap_of_minus_one_is_the_lexical_exit_alone(name: str) -> None:
    policy = with_lexical(ExitPolicy.make({"type": name}))
    for value in policy.grid(labels=3):
        capped = policy.settings_for({policy.sweeps: value, "max_exit_layer": -1})
        assert (policy.replay(evidence(), capped) == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_it_refuses_the_cap(name: str) -> None:
    policy = bound(ExitPolicy.make({"type": name}), EXITS)
    with pytest.raises(ValueError, match="must be at least 0, the layer of the first exit, got -1"):
        policy.settings_for({"max_exit_layer": -1})
    with pytest.raises(ValueError, match="a whole number of at least -1"):
        policy.settings_for({"max_exit_layer": -2})


@pytest.mark.parametrize("name", NAMES)
def test_the_ends_of_the_grid(name: str) -> None:
    policy = with_lexical(ExitPolicy.make({"type": name}))
    grid = policy.grid(labels=3)
    first, last = (
        policy.replay(
            evidence(),
            RowSettings({**policy.values, policy.sweeps: value, "max_exit_layer": np.inf}),
        )
        for value in (grid[0], grid[-1])
    )
    assert (last == EXITS - 1).all() and len(set(first.tolist())) == 1 and first[0] <= 1


def test_patience_counts_it_as_any_exit() -> None:
    policy = with_lexical(ExitPolicy.make({"type": "patience", "patience": 1}))
    agrees, differs = [0.9, 0.8, 0.7, 0.6], [0.9, 0.2, 0.1, 0.6]
    assert policy.replay(two_labels(agrees, differs)).tolist() == [1, 2]


def test_predicted_depth_stops_there_only_if_nothing_need_be_covered() -> None:
    policy = with_lexical(ExitPolicy.make({"type": "predicted_depth", "coverage": 1e-6}))
    assert (policy.replay(evidence()) > 0).all()
    policy.change({"coverage": 0.0})
    assert (policy.replay(evidence()) == 0).all()


@pytest.mark.parametrize("budget", [0.0, 0.5, 1.5, 4.0])
def test_it_costs_a_budget_nothing(budget: float) -> None:
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-2 * np.abs(rng.standard_normal((8000, 1)) + np.arange(4))))
    probs = np.stack([p, 1 - p], axis=-1).astype(np.float32)
    policy = ExitPolicy.make({"type": "budget", "budget": budget})
    policy.bind(Exits(WITH_LEXICAL[:EXITS], shares=exit_shares(probs[:4000])))
    layers: List[int] = [WITH_LEXICAL[exit] + 1 for exit in policy.replay(Evidence(probs[4000:]))]
    assert np.mean(layers) == pytest.approx(budget, rel=0.05, abs=0.02)
