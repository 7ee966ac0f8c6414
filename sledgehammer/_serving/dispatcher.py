"""Run the texts of all requests in worker threads, each model's texts together."""

import math
import threading
import time
from typing import Dict, List, Sequence, Set

import numpy as np
from numpy import ndarray

from sledgehammer._serving.jobs import DEADLINE, EXITS, HURRIED, Job
from sledgehammer._serving.lane import Encode, GoOn, Start
from sledgehammer._serving.models import ServedModel
from sledgehammer._serving.problems import Problem
from sledgehammer.engine.batch import Batch, Stopped, step
from sledgehammer.engine.lines import TRUNCATED
from sledgehammer.policies import RowSettings

TRACED = ("exit_layer", "label", "confidence")
"""What a traced answer tells of each exit."""

FAILED = "the model failed on this text"


class Dispatcher:
    """Run texts in worker threads.

    An idle worker takes what has come at once, a lone text too. When all are busy, texts gather,
    and the next free worker takes those of like length up to the budget of word pieces. Between
    two exits a worker may turn to more urgent texts.

    # Parameters

    workers : `int`
    limit : `int`
        The most texts that may have been accepted without an answer.
    """

    def __init__(self, workers: int, limit: int) -> None:
        self._lock = threading.Condition()
        self._limit = limit
        self._workers = workers
        self._unanswered = 0
        self._busy: Set[ServedModel] = set()
        self._idle = 0
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"sledgehammer-worker-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def unanswered(self) -> int:
        """Return how many texts have been accepted and have no answer yet."""
        return self._unanswered

    def submit(self, model: ServedModel, jobs: List[Job]) -> None:
        """Accept texts, all or none.

        # Raises

        `Problem` 429 if the queue has no room for them, 503 if the server is shutting down.
        """
        with self._lock:
            if self._closing:
                raise Problem(503, "the server is shutting down")
            if self._unanswered + len(jobs) > self._limit:
                seconds = model.estimates.queue(self._unanswered) / self._workers
                raise Problem(
                    429,
                    f"the queue is full: {self._unanswered} texts wait, and at most {self._limit} "
                    "may; try again later",
                    headers={"Retry-After": str(max(1, math.ceil(seconds)))},
                )
            self._unanswered += len(jobs)
            model.accept(jobs)
            self._busy.add(model)
            if self._idle:
                self._lock.notify()

    def close(self) -> None:
        """Answer everything that was accepted, then stop the workers."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()

    # ---- in the workers' threads

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._busy:
                    if self._closing:
                        return
                    self._idle += 1
                    self._lock.wait()
                    self._idle -= 1
                model = self._most_urgent()
                task = model.lane.next()
                if task is None:
                    self._busy.discard(model)
                    continue
                if self._idle and (len(self._busy) > 1 or not model.lane.is_empty):
                    self._lock.notify()
            self._run(model, task)

    def _most_urgent(self) -> ServedModel:
        if len(self._busy) == 1:
            return next(iter(self._busy))
        now = time.monotonic()
        return max(self._busy, key=lambda model: model.lane.urgency(now))

    def _run(self, model: ServedModel, task: "Encode | Start | GoOn") -> None:
        began = time.monotonic()
        if isinstance(task, GoOn):
            self._advance(model, task.batch)
        else:
            try:
                if isinstance(task, Encode):
                    self._encode(model, task.jobs, began)
                    return
                batch = self._started(model, task.jobs, began)
            except Exception as error:  # whatever a library raises must not end the worker
                self._fail(model, task.jobs, error)
                return
            self._advance(model, batch)

    def _encode(self, model: ServedModel, jobs: List[Job], began: float) -> None:
        encoded = model.engine.tokenizer.encode([job.text for job in jobs])
        for job, pieces in zip(jobs, encoded):
            job.encoded = pieces
        seconds = time.monotonic() - began
        with self._lock:
            model.lane.add_sized(jobs)
            self._busy.add(model)
            model.tally.tokenising.add(seconds)

    def _started(self, model: ServedModel, jobs: List[Job], now: float) -> Batch:
        """Return a batch of texts of which no exit has run."""
        settings = [self._hurried(model, job, now) for job in jobs]
        encoded = [job.encoded for job in jobs]
        batch = model.engine.encode_batch(encoded, RowSettings.join(settings))
        with self._lock:
            batch.rows = model.begun(jobs)
            for job in jobs:
                model.tally.queue.add(now - job.arrived)
        return batch

    def _hurried(self, model: ServedModel, job: Job, now: float) -> RowSettings:
        """Return the settings of a text, lowered if its deadline is nearer than its last exit.

        The setting that decides how early texts stop comes as much closer to its fastest value
        as time is lacking.
        """
        if job.deadline is None:
            return job.settings
        needed = model.estimates.whole(len(job.encoded.ids))
        share = max(0.0, job.deadline - now) / needed if needed else 1.0
        policy = model.engine.policy
        value, fastest = job.settings[policy.sweeps], policy.settings[policy.sweeps].fastest
        if share >= 1.0 or not np.isfinite(np.subtract(value, fastest)).all():
            return job.settings
        job.hurried = True
        lowered = fastest + (value - fastest) * share
        if not isinstance(lowered, ndarray):  # thresholds by label need no rounding
            lowered = policy.settings[policy.sweeps].nearest(lowered)
        return job.settings.with_value(policy.sweeps, lowered)

    def _advance(self, model: ServedModel, batch: Batch) -> None:
        """Run rows up to their next exit, and hand on those that go on."""
        began = time.monotonic()
        finished: List[Job] = []
        going = self._cut(model, batch, began, finished) if batch.position else batch
        if going is None:
            self._finish(model, finished)
            return
        batch, position, rows = going, going.position, going.rows
        try:
            stopped, rest = step(model.engine, batch, model.engine.policy)
        except Exception as error:
            self._fail(model, model.take(rows), error)
            self._finish(model, finished)
            return
        now = time.monotonic()
        tokens = len(rows) * int(batch.lengths.max())
        model.estimates.saw_segment(position, tokens, now - began)
        if position == 0:
            model.watch(batch)
        if stopped is not None:
            finished += self._answer(model, stopped, batch)
        if rest is not None:
            rest = self._cut(model, rest, now, finished)
        model.estimates.saw_answers(len(finished), now - began)
        with self._lock:
            model.tally.segments[position].add(now - began)
            model.tally.batch_rows.add(len(rows))
            if rest is not None:
                model.lane.hold(rest, *model.times(rest.rows))
                self._busy.add(model)
        self._finish(model, finished)

    def _cut(
        self, model: ServedModel, batch: Batch, now: float, finished: List[Job]
    ) -> "Batch | None":
        """Answer the rows that would miss their deadline, and return the others."""
        if not model.has_deadlines:
            return batch
        tokens = len(batch.rows) * int(batch.lengths.max())
        latest = now + model.estimates.segment(batch.position, tokens)
        late = np.array([model.deadline(row) < latest for row in batch.rows.tolist()])
        if not late.any():
            return batch
        probs = batch.probs[-1][late]
        stopped = Stopped(batch.rows[late], batch.position - 1, probs)
        cut = self._answer(model, stopped, batch)
        for job in cut:
            job.answer[DEADLINE] = True
        finished += cut
        return None if late.all() else batch.keep(np.flatnonzero(~late))

    def _answer(self, model: ServedModel, stopped: Stopped, batch: Batch) -> List[Job]:
        jobs = model.take(stopped.rows)
        for job, row, probs in zip(jobs, stopped.rows.tolist(), stopped.probs.tolist()):
            job.answer = model.engine.answer(stopped.exit, probs)
            job.answer["tokens"] = len(job.encoded.ids)
            if job.encoded.truncated:
                job.answer[TRUNCATED] = True
            if job.traced:
                place = int(np.flatnonzero(batch.rows == row)[0])
                said = [exit_probs[place].tolist() for exit_probs in batch.probs]
                answers = [model.engine.answer(exit, own) for exit, own in enumerate(said)]
                job.answer[EXITS] = [{name: a[name] for name in TRACED} for a in answers]
            if job.hurried:
                job.answer[HURRIED] = True
        return jobs

    def _finish(self, model: ServedModel, jobs: Sequence[Job]) -> None:
        """Tell the requests that answers are there."""
        if not jobs:
            return
        now = time.monotonic()
        with self._lock:
            self._unanswered -= len(jobs)
            for job in jobs:
                model.saw(job.answer)
                model.tally.answering.add(now - job.arrived)
        for job in jobs:
            job.done(job)

    def _fail(self, model: ServedModel, jobs: List[Job], error: Exception) -> None:
        model.failed(jobs, error)
        for job in jobs:
            job.answer = {"error": FAILED}
        self._finish(model, jobs)

    def counts(self, models: Sequence[ServedModel]) -> Dict[str, float]:
        """Return how many texts of each model have not begun."""
        with self._lock:
            counts: Dict[str, float] = {model.name: 0.0 for model in models}
            for model in {*models, *self._busy}:
                counts[model.name] = counts.get(model.name, 0.0) + model.lane.waiting
            return counts
