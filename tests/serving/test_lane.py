"""Which of the waiting texts run next."""

import math
import time
from typing import List, Optional

import numpy as np
import pytest

from sledgehammer._serving.jobs import Job
from sledgehammer._serving.lane import CHARACTERS_AT_ONCE, Encode, GoOn, Lane, Start, bucket_of
from sledgehammer.engine.batch import Batch
from sledgehammer.engine.schedule import FILL
from sledgehammer.engine.tokenizer import Encoded
from sledgehammer.policies import RowSettings


def job(length: int, age: float = 0.0, text: str = "x") -> Job:
    made = Job(text, RowSettings(), None, lambda job: None)
    made.encoded = Encoded([1] * length, [0] * length)
    made.arrived = time.monotonic() - age
    return made


def batch(rows: int, position: int = 1, length: int = 8) -> Batch:
    tokens = {"hidden": np.zeros((rows, length, 2)), "attention_mask": np.ones((rows, length))}
    probs = [np.ones((rows, 2))] * position
    return Batch(np.arange(rows), np.full(rows, length), tokens, probs)


def lengths(task: object) -> Optional[List[int]]:
    return [len(job.encoded.ids) for job in task.jobs] if isinstance(task, Start) else None


def test_buckets_are_twice_as_long_each() -> None:
    assert [bucket_of(n) for n in (1, 16, 17, 32, 33, 512)] == [16, 16, 32, 32, 64, 512]


def test_the_next_worker_takes_texts_of_like_length_up_to_the_budget() -> None:
    lane = Lane(budget=40, pool=False)
    lane.add_sized([job(10, 5), job(200, 4), *(job(10, 3) for _ in range(5))])
    assert lane.waiting == 7
    assert lengths(lane.next()) == [10] * 4, "no long text among them, and 40 word pieces"
    assert lengths(lane.next()) == [10] * 2
    assert lengths(lane.next()) == [200], "a text above the budget runs alone"
    assert lane.next() is None and lane.is_empty


def test_a_long_text_is_passed_by_short_ones_but_not_for_ever() -> None:
    lane = Lane(budget=512, pool=False)
    lane.add_sized([job(512, age=1.0), job(10, age=0.1)])
    assert lengths(lane.next()) == [10]
    lane.add_sized([job(10, age=0.01)])
    assert lengths(lane.next()) == [512], "it has waited more than 32 times as long"


def test_large_requests_are_tokenised_in_parts() -> None:
    lane = Lane(budget=512, pool=False)
    lane.add([job(1, text="x" * (CHARACTERS_AT_ONCE // 2)) for _ in range(3)])
    parts = [lane.next(), lane.next()]
    assert [len(part.jobs) for part in parts if isinstance(part, Encode)] == [2, 1]
    lane.add([job(1, text="x" * CHARACTERS_AT_ONCE * 2), job(1)])
    assert len(lane.next().jobs) == 1, "a text that is larger than that by itself"  # type: ignore[union-attr]


def test_rows_at_the_same_exit_meet() -> None:
    lane = Lane(budget=32, pool=False)
    for rows, position in ((2, 1), (1, 1), (3, 2), (2, 1)):
        lane.hold(batch(rows, position), time.monotonic(), math.inf)
    sizes = []
    while (task := lane.next()) is not None:
        assert isinstance(task, GoOn)
        sizes.append((task.batch.position, len(task.batch.rows)))
    assert sorted(sizes) == [(1, 2), (1, 3), (2, 3)], "as many as the budget allows"


@pytest.mark.parametrize("pool", [False, True])
def test_a_few_rows_wait_for_one_batch_in_a_pool(pool: bool) -> None:
    lane = Lane(budget=16, pool=pool)
    lane.hold(batch(1), time.monotonic() - 9, math.inf)
    lane.add_sized([job(8) for _ in range(4)])
    order = [type(lane.next()) for _ in range(3)]
    assert order == ([Start, GoOn, Start] if pool else [GoOn, Start, Start])


def test_enough_rows_wait_for_nobody_and_so_do_those_whose_time_is_up() -> None:
    now = time.monotonic()
    for rows, due in ((FILL, math.inf), (1, now)):
        lane = Lane(budget=8, pool=True)
        lane.hold(batch(rows), now - 9, due)
        lane.add_sized([job(8)])
        assert isinstance(lane.next(), GoOn)


def test_rows_whose_time_is_up_pass_everything() -> None:
    lane = Lane(budget=8, pool=False)
    now = time.monotonic()
    lane.hold(batch(1, length=512), now, due=now)
    lane.add_sized([job(8, age=9)])
    assert lane.urgency(now) == math.inf
    assert isinstance(lane.next(), GoOn)
