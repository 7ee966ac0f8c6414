"""Search for small changes to texts that push them to deeper exits.

Sources: Hong et al., "A Panda? No, It's a Sloth: Slowdown Attacks on Adaptive Multi-Exit Neural
Network Inference", 2021 (DeepSloth); Chen et al., "Dynamic Transformers Provide a False Sense of
Efficiency", 2023 (SAME); Coalson et al., "BERT Lost Patience Won't Be Robust to Adversarial
Slowdown", 2023 (WAFFLE). Those follow gradients, or every exit's prediction; here the search sees
what a client of the service sees: the exit layer and the confidence of the answer.
"""

import math
import random
from dataclasses import dataclass, field
from typing import Callable, List, NamedTuple, Optional, Sequence, Set, Tuple

from sledgehammer.analysis.text_changes import Change, Texts, changed

_ATTEMPTS = 4
"""A new change is drawn so many times for each query before the round does with fewer."""


class Outcome(NamedTuple):
    """Hold what a model says about a text, and the layers that it ran."""

    layers: int
    label: str
    confidence: float

    @property
    def slowness(self) -> Tuple[int, float]:
        """Return what the search maximises: layers, and among equals the doubt of the answer.

        A text that leaves an exit with a lower confidence is nearer to going on.
        """
        return self.layers, -self.confidence


Run = Callable[[Sequence[Texts]], Sequence[Outcome]]
"""Return what a model says about each of some rows."""


class Candidate(NamedTuple):
    """Hold the texts of a row, changed or not, and their outcome."""

    texts: Texts
    outcome: Outcome


@dataclass(frozen=True)
class Effort:
    """Say how hard to search.

    # Parameters

    queries : `int`
        At most so many changed versions of a row are run.
    changes : `int`
        A version differs from the row by at most so many changes.
    """

    queries: int = 30
    changes: int = 3


@dataclass
class Search:
    """Hold what a search for one kind of change knows of a row.

    # Parameters

    slowest : `Candidate`
        The slowest version so far; at first the row as it is.
    at_random : `Outcome`, optional
        The outcome of the first change tried; `None` if none could be made.
    queries : `int`
        How many versions were run.
    """

    slowest: Candidate
    draw: random.Random
    at_random: Optional[Outcome] = None
    queries: int = 0
    tried: Set[Texts] = field(default_factory=set)

    def versions(self, change: Change, count: int) -> List[Texts]:
        """Return at most so many new versions, each one change away from the slowest one."""
        found: List[Texts] = []
        for _ in range(_ATTEMPTS * count):
            if len(found) == count:
                break
            version = changed(self.slowest.texts, change, self.draw)
            if version not in self.tried:
                self.tried.add(version)
                found.append(version)
        return found

    def take(self, version: Texts, outcome: Outcome) -> None:
        """Take the outcome of a version that was run."""
        if self.at_random is None:
            self.at_random = outcome
        self.queries += 1
        if outcome.slowness > self.slowest.outcome.slowness:
            self.slowest = Candidate(version, outcome)


def search(
    unchanged: Sequence[Candidate],
    run: Run,
    change: Change,
    effort: Effort,
    deepest: int,
    seed: str,
) -> List[Search]:
    """Search for the slowest version of each row.

    Greedy: in each round random changes are tried on the slowest version so far, and the slowest
    of the results is kept if it is slower. What a row is changed to follows from the seed and the
    row, not from the rows beside it. A row that runs all layers is tried once, to see what one
    change at random does.

    # Parameters

    unchanged : `Sequence[Candidate]`
        The rows as they are.
    deepest : `int`
        The layers of the last exit: a row that runs so many can't become slower.
    seed : `str`
    """
    searches = [
        Search(candidate, random.Random(f"{seed} {number}"), tried={candidate.texts})
        for number, candidate in enumerate(unchanged)
    ]
    for round_number in range(effort.changes):
        rounds_left = effort.changes - round_number
        asked: List[Tuple[Search, Texts]] = []
        for one in searches:
            count = math.ceil((effort.queries - one.queries) / rounds_left)
            if one.slowest.outcome.layers >= deepest:
                count = 0 if round_number else min(count, 1)
            asked += [(one, version) for version in one.versions(change, count)]
        outcomes = run([version for _, version in asked]) if asked else []
        for (one, version), outcome in zip(asked, outcomes):
            one.take(version, outcome)
    return searches


@dataclass(frozen=True)
class Slowdown:
    """Say how far changes slow rows down; all figures are of layers.

    # Parameters

    kind : `str`
    rows : `int`
    queries : `float`
        Changed versions that were run, a row.
    mean_layers_before, mean_layers_after : `float`
        Of the rows as they are, and of the slowest versions found.
    mean_layers_at_random : `float`, optional
        Of the rows with one change that nobody chose; `None` if not known.
    mean_slowdown : `float`
        The ratio of the two means: what a machine has to pay.
    worst_slowdown : `float`
        The largest ratio of any row. Infinite if a row ran no layer before (which a lexical exit
        makes possible).
    deepest_before, deepest_after : `float`
        Share of the rows that run to the last exit.
    labels_changed : `float`
        Share of the rows whose slowest version has another label than the row as it is.
    accuracy_before, accuracy_after : `float`, optional
        By the labels of the data, if there are any.
    """

    kind: str
    rows: int
    queries: float
    mean_layers_before: float
    mean_layers_at_random: Optional[float]
    mean_layers_after: float
    mean_slowdown: float
    worst_slowdown: float
    deepest_before: float
    deepest_after: float
    labels_changed: float
    accuracy_before: Optional[float] = None
    accuracy_after: Optional[float] = None


def slowdown(
    kind: str,
    before: Sequence[Outcome],
    searches: Sequence[Search],
    deepest: int,
    labels: Optional[Sequence[str]] = None,
) -> Slowdown:
    """Sum up a search.

    # Parameters

    labels : `Sequence[str]`, optional
        The right label of each row.
    """
    after = [one.slowest.outcome for one in searches]
    layers = [[one.layers for one in outcomes] for outcomes in (before, after)]
    at_random = [(one.at_random or old).layers for one, old in zip(searches, before)]
    is_known = any(one.at_random for one in searches)
    return Slowdown(
        kind=kind,
        rows=len(before),
        queries=_mean([one.queries for one in searches]),
        mean_layers_before=_mean(layers[0]),
        mean_layers_at_random=_mean(at_random) if is_known else None,
        mean_layers_after=_mean(layers[1]),
        mean_slowdown=ratio(sum(layers[1]), sum(layers[0])),
        worst_slowdown=max(map(ratio, layers[1], layers[0])),
        deepest_before=_mean([n >= deepest for n in layers[0]]),
        deepest_after=_mean([n >= deepest for n in layers[1]]),
        labels_changed=_mean([new.label != old.label for new, old in zip(after, before)]),
        accuracy_before=None if labels is None else accuracy(before, labels),
        accuracy_after=None if labels is None else accuracy(after, labels),
    )


def slowest_of(kinds: Sequence[Sequence[Search]]) -> List[Search]:
    """Return for each row the search of the kind that slowed it down most; queries are added up."""
    slowest = []
    for row in zip(*kinds):
        best = max(row, key=lambda one: one.slowest.outcome.slowness)
        slowest.append(Search(best.slowest, best.draw, None, sum(one.queries for one in row)))
    return slowest


class Held(NamedTuple):
    """Say what a cap on the layers leaves of a slow-down; see `Slowdown`."""

    max_exit_layer: int
    mean_layers_before: float
    mean_layers_after: float
    mean_slowdown: float
    worst_slowdown: float


def held_by_cap(before: Sequence[int], after: Sequence[int], max_exit_layer: int) -> Held:
    """Return what is left of a slow-down if no row runs beyond a layer.

    Up to that layer nothing is decided otherwise, so the layers follow from those without a cap;
    and the slowest version without a cap is the slowest, or one of them, with it.

    # Parameters

    before, after : `Sequence[int]`
        The layers of each row as it is, and of its slowest version.
    max_exit_layer : `int`
        One of the layers with an exit.
    """
    old, new = ([min(n, max_exit_layer + 1) for n in layers] for layers in (before, after))
    worst = max(map(ratio, new, old))
    return Held(max_exit_layer, _mean(old), _mean(new), ratio(sum(new), sum(old)), worst)


def accuracy(outcomes: Sequence[Outcome], labels: Sequence[str]) -> float:
    """Return the share of the rows whose label is right."""
    return _mean([one.label == label for one, label in zip(outcomes, labels)])


def ratio(after: float, before: float) -> float:
    """Return a slow-down; where nothing ran before, it is infinite, or 1 if nothing runs now."""
    if before:
        return after / before
    return math.inf if after else 1.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
