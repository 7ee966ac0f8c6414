"""Turn-taking and ratios; no test depends on how long something takes."""

from typing import List

import pytest

from sledgehammer.benchmark.timing import Timing, alternate, take_turns


def test_variants_take_turns_in_changing_order() -> None:
    calls: List[str] = []
    timings = alternate({name: lambda n=name: calls.append(n) for name in "ab"}, 2)  # type: ignore[misc]
    assert "".join(calls) == "ba" + "ab" + "ba"  # the first pair warms up
    assert all(len(timing.rounds) == 2 for timing in timings.values())


def test_outcomes_are_kept_in_the_order_of_the_rounds() -> None:
    numbers = iter(range(100))
    outcomes = take_turns({name: lambda: next(numbers) for name in "ab"}, rounds=2, warm_up=1)
    assert outcomes == {"a": [2, 5], "b": [3, 4]}


def test_ratios_are_taken_round_by_round() -> None:
    slow, fast = Timing([2.0, 8.0, 4.0]), Timing([1.0, 2.0, 4.0])
    assert fast.ratio(slow).rounds == [2.0, 4.0, 1.0]
    assert fast.ratio(slow).median == 2.0
    assert slow.median == 4.0
    assert slow.quartiles == pytest.approx([3.0, 6.0])
