"""What policies are shown in tests."""

from typing import Any, List, Sequence, TypeVar

import numpy as np

from sledgehammer.policies import Evidence, ExitPolicy, Exits, RowSettings, exit_shares

LAYERS = [0, 2, 3, 5, 8]
"""Of which the tests take as many as they have exits."""

WITH_LEXICAL = [-1, *LAYERS]
"""The same, with the lexical exit before them."""

Policy = TypeVar("Policy", bound=ExitPolicy)


def bound(policy: Policy, exits: int = 3, layers: Sequence[int] = LAYERS) -> Policy:
    """The policy, for a model that has all there is."""
    shares = exit_shares(random_evidence(seed=1, rows=500, exits=exits).probs)
    policy.bind(Exits(layers[:exits], ["certainty", "depth"], shares))
    return policy


def random_evidence(seed: int, rows: int, exits: int, labels: int = 3) -> Evidence:
    """Probabilities and signals of everything that could be seen."""
    rng = np.random.default_rng(seed)
    powers = np.exp(2 * rng.standard_normal((rows, exits, labels)))
    depth = np.exp(2 * rng.standard_normal((rows, exits)))
    return Evidence(
        (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32),
        {
            "certainty": rng.random((rows, exits), np.float32),
            "depth": (depth / depth.sum(axis=-1, keepdims=True)).astype(np.float32),
        },
    )


def two_labels(*first: Sequence[float]) -> Evidence:
    """Rows of two labels, given the first one's probability at each exit."""
    p = np.array(first, np.float32)
    return Evidence(np.stack([p, 1 - p], axis=-1))


def replayed(policy: ExitPolicy, evidence: Evidence, **settings: Any) -> List[int]:
    """The exits that answer; lists are settings of single rows."""
    bound(policy, evidence.probs.shape[1])
    own = {name: np.asarray(value, np.float32) for name, value in settings.items()}
    return policy.replay(evidence, RowSettings({**policy.values, **own})).tolist()
