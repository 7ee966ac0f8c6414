"""Measure what a budget, and a deadline, leave of a slow-down."""

import copy
import time
from dataclasses import dataclass, field
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sledgehammer.engine import Engine
from sledgehammer.engine.batch import Batch, step
from sledgehammer.engine.tokenizer import Text
from sledgehammer.policies.budget import BudgetPolicy


class Budgeted(NamedTuple):
    """Hold the mean layers of a stream that was kept to a budget, and the share of right labels."""

    mean_layers: float
    accuracy: Optional[float]


def stream_at_budget(
    engine: Engine,
    texts: Sequence[Text],
    budget: float,
    labels: Optional[Sequence[str]] = None,
) -> Optional[Budgeted]:
    """Run texts as one stream of the policy `budget`, whatever the engine's own policy is.

    # Parameters

    budget : `float`
        Mean layers; cut to the range from the first exit to the last.
    labels : `Sequence[str]`, optional
        The right label of each text.

    # Returns

    `None` if the engine does not know what a threshold costs, so that it can't keep a budget.
    """
    lowest, highest = (engine.manifest.exit_layers[i] + 1 for i in (0, -1))
    policy = BudgetPolicy(float(np.clip(budget, lowest, highest)))
    policy.bind(engine.exits)
    if policy.unready():
        return None
    steered = copy.copy(engine)
    steered.policy = policy
    answers = list(steered.stream(texts))
    layers = [answer["layers_run"] for answer in answers]
    right = None
    if labels is not None:
        right = sum(a["label"] == label for a, label in zip(answers, labels)) / len(labels)
    return Budgeted(sum(layers) / len(layers), right)


@dataclass
class Pace:
    """Hold how long the segments took so far, to tell what the next one will take.

    # Parameters

    seconds, pieces : `Dict[int, float]`
        By the position of the exit: all seconds, and all word pieces.
    """

    seconds: Dict[int, float] = field(default_factory=dict)
    pieces: Dict[int, float] = field(default_factory=dict)

    def add(self, position: int, pieces: int, seconds: float) -> None:
        self.seconds[position] = self.seconds.get(position, 0.0) + seconds
        self.pieces[position] = self.pieces.get(position, 0.0) + pieces

    def expected(self, position: int, pieces: int) -> float:
        """Return the seconds that a text of so many pieces takes from one exit to the next."""
        if position not in self.pieces:
            return 0.0
        return pieces * self.seconds[position] / self.pieces[position]


def time_alone(
    engine: Engine, text: Text, pace: Pace, deadline: Optional[float] = None
) -> Tuple[float, int]:
    """Run one text by itself, and return the seconds that it took and the layers that it ran.

    # Parameters

    deadline : `float`, optional
        Seconds. As in `sledgehammer serve`, the text is answered by the last exit before the one
        that it would not reach in time; the first exit is always run.
    """
    began = time.perf_counter()
    encoded = engine.tokenizer.encode([text])
    batch: Optional[Batch] = engine.encode_batch(encoded, engine.settings({}, 1))
    pieces, position = len(encoded[0].ids), 0
    while batch is not None:
        segment_began = time.perf_counter()
        position = batch.position
        _, batch = step(engine, batch, engine.policy)
        now = time.perf_counter()
        pace.add(position, pieces, now - segment_began)
        if deadline is not None and now - began + pace.expected(position + 1, pieces) > deadline:
            break
    return time.perf_counter() - began, engine.manifest.exit_layers[position] + 1


@dataclass(frozen=True)
class Times:
    """Say how long texts took before and after they were changed, each by itself.

    # Parameters

    mean_ms_before, mean_ms_after : `float`
    p95_ms_before, p99_ms_before, p99_ms_after : `float`
        So many percent of the texts took no longer.
    mean_slowdown : `float`
        The ratio of the means.
    worst_slowdown : `float`
        The largest ratio of any text.
    mean_layers_after : `float`
    deadline_ms : `float`, optional
        The deadline that they ran under, if there was one.
    """

    mean_ms_before: float
    mean_ms_after: float
    p95_ms_before: float
    p99_ms_before: float
    p99_ms_after: float
    mean_slowdown: float
    worst_slowdown: float
    mean_layers_after: float
    deadline_ms: Optional[float] = None


def times(
    engine: Engine,
    before: Sequence[Text],
    after: Sequence[Text],
    deadline: Optional[float] = None,
    rounds: int = 3,
) -> Times:
    """Time texts as they are and changed, in turn; the median of some rounds counts.

    # Parameters

    before, after : `Sequence[Text]`
        Equally many.
    deadline : `float`, optional
        Seconds; see `time_alone`.
    """
    pace = Pace()
    for text in (*before[:8], *after[:8]):  # what runs first is slower
        time_alone(engine, text, pace)
    seconds = np.empty((rounds, len(before), 2))
    layers = 0
    for n in range(rounds):
        for i, pair in enumerate(zip(before, after)):
            for side, text in enumerate(pair):
                seconds[n, i, side], run = time_alone(engine, text, pace, deadline)
                layers += run * side
    old, new = np.median(seconds, axis=0).T
    return Times(
        mean_ms_before=1e3 * float(old.mean()),
        mean_ms_after=1e3 * float(new.mean()),
        p95_ms_before=1e3 * float(np.percentile(old, 95)),
        p99_ms_before=1e3 * float(np.percentile(old, 99)),
        p99_ms_after=1e3 * float(np.percentile(new, 99)),
        mean_slowdown=float(new.sum() / old.sum()),
        worst_slowdown=float((new / old).max()),
        mean_layers_after=layers / (rounds * len(before)),
        deadline_ms=None if deadline is None else 1e3 * deadline,
    )
