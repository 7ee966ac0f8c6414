"""Keep the texts that wait for one model, and choose which of them run next."""

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Deque, Dict, List, NamedTuple, Optional, Tuple

from sledgehammer._serving.jobs import Job
from sledgehammer.engine.batch import Batch
from sledgehammer.engine.schedule import FILL

SHORTEST = 16
"""Texts of up to so many word pieces share a bucket; each bucket above is twice as long."""

ENCODED_AT_ONCE = 256
CHARACTERS_AT_ONCE = 200_000
"""So much is tokenised at a time, so that one large request doesn't hold up the others."""


def bucket_of(length: int) -> int:
    """Return the largest length of the bucket that texts of a length belong to."""
    bucket = SHORTEST
    while bucket < length:
        bucket *= 2
    return bucket


@dataclass
class Held:
    """Hold rows that go on after an exit.

    # Parameters

    batch : `Batch`
    oldest : `float`
        When the first of them arrived.
    due : `float`
        When the first of them must be answered.
    rounds : `int`
        How many batches of new texts were started since.
    """

    batch: Batch
    oldest: float
    due: float
    rounds: int = 0


class Start(NamedTuple):
    """Tell a worker to run texts up to the first exit."""

    jobs: List[Job]


class Encode(NamedTuple):
    """Tell a worker to tokenise texts."""

    jobs: List[Job]


class GoOn(NamedTuple):
    """Tell a worker to run rows up to the next exit."""

    batch: Batch


Group = Tuple[int, int]
"""The position of the next exit, and the bucket."""


class Lane:
    """Keep the texts that wait for one model. The caller holds a lock.

    Which of the waiting groups runs next is decided by the highest response ratio: the time that
    its oldest text has waited, divided by the length of its bucket. Short texts pass long ones,
    but a long one is overtaken for a bounded time only (Hansen, "Operating System Principles",
    1973).

    # Parameters

    budget : `int`
        Word pieces of a batch, padding included.
    pool : `bool`
        Whether fewer than `FILL` rows that go on wait for one batch of the texts in the queue.
    """

    def __init__(self, budget: int, pool: bool) -> None:
        self._budget = budget
        self._pool = pool
        self._raw: Deque[Job] = deque()
        self._sized: Dict[int, Deque[Job]] = {}
        self._held: Dict[Group, List[Held]] = {}

    @property
    def waiting(self) -> int:
        """Return how many texts have not begun."""
        return len(self._raw) + sum(map(len, self._sized.values()))

    @property
    def is_empty(self) -> bool:
        """Return whether nothing waits, neither new texts nor rows that go on."""
        return not (self._raw or self._sized or self._held)

    def add(self, jobs: List[Job]) -> None:
        """Take new texts."""
        self._raw.extend(jobs)

    def add_sized(self, jobs: List[Job]) -> None:
        """Take texts that have been tokenised."""
        for job in jobs:
            self._sized.setdefault(bucket_of(len(job.encoded.ids)), deque()).append(job)

    def hold(self, batch: Batch, oldest: float, due: float) -> None:
        """Take rows that go on after an exit."""
        group = batch.position, bucket_of(int(batch.lengths.max()))
        self._held.setdefault(group, []).append(Held(batch, oldest, due))

    def urgency(self, now: float) -> float:
        """Return the highest response ratio of the groups; -1 if nothing waits."""
        if self._raw:
            return (now - self._raw[0].arrived) / SHORTEST
        ratios = [(now - jobs[0].arrived) / b for b, jobs in self._sized.items()]
        ratios += [self._ratio(now, group) for group in self._held]
        return max(ratios, default=-1.0)

    def next(self) -> "Encode | Start | GoOn | None":
        """Take out what runs next, or return `None` if nothing waits."""
        if self._raw:
            return Encode(self._take_raw())
        now = time.monotonic()
        bucket = max(self._sized, key=lambda b: (now - self._sized[b][0].arrived) / b, default=None)
        group = self._ready(now, anything=bucket is None)
        if group is not None:
            ratio = self._ratio(now, group)
            if bucket is None or ratio >= (now - self._sized[bucket][0].arrived) / bucket:
                return GoOn(self._take_held(group))
        return None if bucket is None else Start(self._take_sized(bucket))

    def _ready(self, now: float, anything: bool) -> Optional[Group]:
        """Return the most urgent group of rows that go on and need not wait for others."""
        groups = [
            group
            for group, held in self._held.items()
            if anything
            or not self._pool
            or held[0].rounds
            or _rows(held) >= FILL
            or min(one.due for one in held) <= now
        ]
        return max(groups, key=lambda group: self._ratio(now, group), default=None)

    def _ratio(self, now: float, group: Group) -> float:
        held = self._held[group]
        if min(one.due for one in held) <= now:  # they have an answer already
            return math.inf
        return (now - min(one.oldest for one in held)) / group[1]

    def _take_raw(self) -> List[Job]:
        jobs = [self._raw.popleft()]
        characters = _characters(jobs[0])
        while self._raw and len(jobs) < ENCODED_AT_ONCE:
            characters += _characters(self._raw[0])
            if characters > CHARACTERS_AT_ONCE:
                break
            jobs.append(self._raw.popleft())
        return jobs

    def _take_sized(self, bucket: int) -> List[Job]:
        waiting = self._sized[bucket]
        jobs, longest = [waiting.popleft()], 0
        longest = len(jobs[0].encoded.ids)
        while waiting:
            longest = max(longest, len(waiting[0].encoded.ids))
            if (len(jobs) + 1) * longest > self._budget:
                break
            jobs.append(waiting.popleft())
        if not waiting:
            del self._sized[bucket]
        for held_list in self._held.values():
            for held in held_list:
                held.rounds += 1
        return jobs

    def _take_held(self, group: Group) -> Batch:
        """Return the rows of a group, as many as the budget allows."""
        held = self._held[group]
        taken = [held.pop(0).batch]
        rows, longest = len(taken[0].rows), int(taken[0].lengths.max())
        while held:
            batch = held[0].batch
            rows, longest = rows + len(batch.rows), max(longest, int(batch.lengths.max()))
            if rows * longest > self._budget:
                break
            taken.append(held.pop(0).batch)
        if not held:
            del self._held[group]
        return Batch.join(taken) if len(taken) > 1 else taken[0]


def _rows(held: List[Held]) -> int:
    return sum(len(one.batch.rows) for one in held)


def _characters(job: Job) -> int:
    return len(job.text) if isinstance(job.text, str) else sum(map(len, job.text))
