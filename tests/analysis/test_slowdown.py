"""The search keeps to its budget, is reproducible, and never makes a text faster."""

import math
import zlib
from typing import List, Sequence, Tuple

from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer.analysis.slowdown import (
    Candidate,
    Effort,
    Outcome,
    Search,
    held_by_cap,
    ratio,
    search,
    slowdown,
    slowest_of,
)
from sledgehammer.analysis.text_changes import Appended, Texts, mistyped

EXITS = (1, 3, 6)
ROWS = st.lists(st.text(st.sampled_from("abc de"), min_size=1, max_size=12), min_size=1, max_size=5)
EFFORTS = st.builds(Effort, st.integers(1, 12), st.integers(1, 4))
CHANGES = {"typos": mistyped, "appended": Appended(["a", "b", "cd"])}
KINDS = st.sampled_from(sorted(CHANGES))


def say(texts: Texts) -> Outcome:
    """A model that answers at random, but always the same."""
    number = zlib.crc32(repr(texts).encode())
    return Outcome(EXITS[number % 3], "ab"[number // 3 % 2], number / 2**32)


def run(rows: Sequence[Texts]) -> List[Outcome]:
    return [say(texts) for texts in rows]


def searched(rows: Sequence[str], kind: str, effort: Effort, seed: str = "0") -> List[Search]:
    unchanged = [Candidate((row,), say((row,))) for row in rows]
    return search(unchanged, run, CHANGES[kind], effort, EXITS[-1], seed)


@given(ROWS, KINDS, EFFORTS, st.text(max_size=3))
@settings(max_examples=60, deadline=None)
def test_the_search_keeps_its_promises(
    rows: List[str], kind: str, effort: Effort, seed: str
) -> None:
    asked: List[Texts] = []

    def counted(some: Sequence[Texts]) -> List[Outcome]:
        asked.extend(some)
        return run(some)

    unchanged = [Candidate((row,), say((row,))) for row in rows]
    found = search(unchanged, counted, CHANGES[kind], effort, EXITS[-1], seed)
    assert len(asked) == sum(one.queries for one in found)
    for row, one in zip(unchanged, found):
        assert one.queries <= effort.queries and len(one.tried) == one.queries + 1
        assert one.slowest.outcome == say(one.slowest.texts)
        assert one.slowest.outcome.slowness >= row.outcome.slowness
        if row.outcome.layers == EXITS[-1]:
            assert one.queries <= 1 and one.slowest.outcome.layers == EXITS[-1]
        if kind == "appended":
            added = one.slowest.texts[0].split()[len(row.texts[0].split()) :]
            assert len(added) <= effort.changes
    before = [one.outcome for one in unchanged]
    summary = slowdown(kind, before, found, EXITS[-1])
    assert summary.worst_slowdown >= summary.mean_slowdown >= 1 or math.isclose(
        summary.mean_slowdown, 1
    )
    assert summary.deepest_after >= summary.deepest_before and summary.accuracy_after is None


@given(ROWS, KINDS, EFFORTS, st.text(max_size=3))
@settings(max_examples=30, deadline=None)
def test_a_row_is_searched_alike_in_any_company(
    rows: List[str], kind: str, effort: Effort, seed: str
) -> None:
    alone = searched(rows[:1], kind, effort, seed)[0]
    beside = searched(rows, kind, effort, seed)[0]
    assert (alone.slowest, alone.queries, alone.at_random) == (
        beside.slowest, beside.queries, beside.at_random,
    )  # fmt: skip


def test_another_seed_searches_elsewhere() -> None:
    rows, effort = ["a long story about some bees"], Effort(5, 1)
    tried = [searched(rows, "typos", effort, seed)[0].tried for seed in ("0", "0", "1")]
    assert tried[0] == tried[1] != tried[2]


def test_rounds_build_on_one_another() -> None:
    """A model that gets slower, or less sure, with every word is followed to its last exit."""

    def longer(rows: Sequence[Texts]) -> List[Outcome]:
        counts = [len(texts[0].split()) for texts in rows]
        return [Outcome(EXITS[min(n // 3, 2)], "a", 1 / n) for n in counts]

    unchanged = [Candidate(("one",), Outcome(1, "a", 1.0))]
    for changes, layers in ((1, 1), (2, 3), (4, 3), (5, 6)):
        effort = Effort(3 * changes, changes)
        (one,) = search(unchanged, longer, CHANGES["appended"], effort, 6, "0")
        assert one.slowest.outcome.layers == layers, "changes that only add doubt are kept too"


def test_what_cannot_be_changed_costs_nothing() -> None:
    (one,) = searched(["a b"], "typos", Effort(9, 3))
    assert one.queries == 0 and one.at_random is None
    assert slowdown("typos", [say(("a b",))], [one], 6).mean_layers_at_random is None


def made(*layers: Tuple[int, int], label: str = "a") -> Tuple[List[Outcome], List[Search]]:
    """Outcomes before, and searches with those after."""
    before = [Outcome(old, "a", 0.9) for old, _ in layers]
    after = [Candidate(("t",), Outcome(new, label, 0.5)) for _, new in layers]
    return before, [Search(one, None, queries=2) for one in after]  # type: ignore[arg-type]


def test_figures() -> None:
    before, searches = made((1, 3), (3, 3), (6, 6), (2, 6), label="b")
    searches[0].at_random = Outcome(2, "a", 0.9)
    found = slowdown("typos", before, searches, 6, ["a", "b", "a", "b"])
    assert (found.rows, found.queries) == (4, 2)
    assert (found.mean_layers_before, found.mean_layers_after) == (3, 4.5)
    assert found.mean_layers_at_random == (2 + 3 + 6 + 2) / 4
    assert (found.mean_slowdown, found.worst_slowdown) == (1.5, 3)
    assert (found.deepest_before, found.deepest_after) == (0.25, 0.5)
    assert (found.labels_changed, found.accuracy_before, found.accuracy_after) == (1, 0.5, 0.5)


def test_in_all_is_the_worst_of_each() -> None:
    _, typos = made((1, 3), (1, 6))
    _, appended = made((1, 6), (1, 1))
    both = slowest_of([typos, appended])
    assert [one.slowest.outcome.layers for one in both] == [6, 6]
    assert [one.queries for one in both] == [4, 4]


def test_caps() -> None:
    held = held_by_cap([1, 3, 6], [3, 6, 6], 2)
    assert held == (2, 7 / 3, 3, 9 / 7, 3)
    assert held_by_cap([1, 3, 6], [3, 6, 6], 0)[3:] == (1, 1)


def test_ratios_where_nothing_ran() -> None:
    assert (ratio(3, 2), ratio(0, 0), ratio(1, 0)) == (1.5, 1, math.inf)
