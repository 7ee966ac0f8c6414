"""Hold the models that are served, and open them anew when their directories change."""

import logging
import math
import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer._serving.estimates import Estimates
from sledgehammer._serving.jobs import DEADLINE, HURRIED, Answer, Job
from sledgehammer._serving.lane import Lane
from sledgehammer._serving.metrics import ModelTally
from sledgehammer._serving.options import Batching
from sledgehammer._serving.problems import Problem
from sledgehammer._serving.watching import Log, Watcher
from sledgehammer.engine import Engine, EngineError, load
from sledgehammer.engine.batch import Batch
from sledgehammer.engine.curve import Curve
from sledgehammer.engine.lines import TRUNCATED
from sledgehammer.engine.manifest import MANIFEST
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.engine.schedule import POOLED_RUNTIMES
from sledgehammer.monitoring.drift import ALPHA
from sledgehammer.policies import RowSettings

LOG = logging.getLogger("sledgehammer._serving")

LONGEST_PAUSE = 32
"""A directory that can't be opened is tried again after 1, 2, 4, ... looks, at most so many."""


class ServedModel:
    """Hold one opened directory, and the texts that wait for it or run.

    After a reload, a new one takes the new requests while the old one answers those it has.

    # Parameters

    name : `str`
    engine : `Engine`
        Whose policy has the server's settings.
    batching : `Batching`
    tally : `ModelTally`
    """

    def __init__(self, name: str, engine: Engine, batching: Batching, tally: ModelTally) -> None:
        pool = batching.pool
        if pool is None:
            pool = engine.manifest.runtime in POOLED_RUNTIMES
        self.name = name
        self.engine = engine
        self.tally = tally
        self.lane = Lane(batching.tokens, pool)
        self.estimates = Estimates(len(engine.manifest.exit_layers))
        self.defaults: RowSettings = engine.policy.settings_for({})
        self.has_deadlines = False
        self.watcher: Optional[Watcher] = None
        self.curve: Optional[Curve] = None
        self.labels = engine.manifest.labels
        self._label_numbers = {label: number for number, label in enumerate(self.labels)}
        self._exits = {layer: exit for exit, layer in enumerate(engine.manifest.exit_layers)}
        self._running: Dict[int, Job] = {}
        self._next = 0

    def accept(self, jobs: List[Job]) -> None:
        """Number new texts in the order of their arrival, and let them wait; the caller locks."""
        for job in jobs:
            job.number = self._next
            self._next += 1
        self.lane.add(jobs)

    def begun(self, jobs: List[Job]) -> ndarray:
        """Note that texts run, and return their numbers, which batches know; the caller locks."""
        for job in jobs:
            self._running[job.number] = job
            self.has_deadlines |= job.deadline is not None
        return np.array([job.number for job in jobs])

    def take(self, rows: ndarray) -> List[Job]:
        """Return the texts of these numbers, which have their answer now."""
        return [self._running.pop(row) for row in rows.tolist()]

    def times(self, rows: ndarray) -> Tuple[float, float]:
        """Return when the first of these texts arrived, and when the first must be answered."""
        arrived = min(self._running[row].arrived for row in rows.tolist())
        return arrived, min(map(self.deadline, rows.tolist())) if self.has_deadlines else math.inf

    def deadline(self, row: int) -> float:
        """Return when a text must be answered."""
        deadline = self._running[row].deadline
        return math.inf if deadline is None else deadline

    def saw(self, answer: Answer) -> None:
        """Count an answer."""
        if "error" in answer:
            self.tally.events["failed"] += 1
            return
        self.tally.saw_answer(
            self._exits[answer["exit_layer"]],
            self._label_numbers[answer["label"]],
            answer["confidence"],
        )
        for event in (TRUNCATED, DEADLINE, HURRIED):
            if event in answer:
                self.tally.events[event] += 1

    def watch(self, batch: Batch) -> None:
        """Look at what the first exit says of new texts."""
        if self.watcher is not None:
            self.watcher.see(batch.rows, batch.probs[0], batch.lengths)

    def failed(self, jobs: List[Job], error: Exception) -> None:
        """Log that texts failed. The error's message may quote a text, so it is left out."""
        if self.watcher is not None:
            self.watcher.skip([job.number for job in jobs])
        LOG.error("%s: a batch failed with %s", self.name, type(error).__name__)


class Models:
    """Hold the models by name, and open them anew when their directories change.

    # Parameters

    directories : `Dict[str, Path]`
    batching : `Batching`
    settings : `Mapping[str, float]`
        The policy's settings for texts that have none of their own.

    log : `Path`, optional
        See `Options`.
    alpha : `float`, optional
        The probability of a false alarm of drift, of each model.

    # Raises

    `EngineError` if a directory can't be opened, or a policy does not have a setting.
    """

    def __init__(
        self,
        directories: Dict[str, Path],
        batching: Batching,
        settings: Mapping[str, float],
        log: Optional[Path] = None,
        alpha: float = ALPHA,
    ) -> None:
        self._alpha = alpha
        self._log = None if log is None else Log(log)
        self.directories = directories
        self._batching = batching
        self._settings = settings
        self._lock = threading.Lock()
        self._served: Dict[str, ServedModel] = {}
        self._signatures: Dict[str, Any] = {}
        self._pauses: Dict[str, Tuple[int, int]] = {}
        self.reloads: Dict[str, float] = dict.fromkeys(directories, 0.0)
        self.failed_reloads: Dict[str, float] = dict.fromkeys(directories, 0.0)
        for name in directories:
            self._signatures[name] = signature(directories[name])
            self._served[name] = self._opened(name)

    def all(self) -> List[ServedModel]:
        """Return the models, the default one first."""
        return list(self._served.values())

    def get(self, name: Optional[str], field: Optional[str] = "model") -> ServedModel:
        """Return the model of a name, or the first one for none.

        # Raises

        `Problem` 404 if there is none of that name.
        """
        if name is None:
            return next(iter(self._served.values()))
        model = self._served.get(name) if isinstance(name, str) else None
        if model is None:
            known = ", ".join(self._served)
            raise Problem(404, f"there is no model {name!r:.80}; there are: {known}", field)
        return model

    def _opened(self, name: str) -> ServedModel:
        threads = self._batching.threads or max(1, usable_cores() // self._batching.workers)
        engine = load(self.directories[name], threads)
        engine.policy = engine.with_settings(self._settings)
        # The first run of a graph is slow; nobody should wait for it.
        engine.predict(["warm up"] if len(engine.manifest.fields) == 1 else [("warm", "up")])
        model = self._served_anew(name, engine)
        model.curve = _curve_of(self.directories[name])
        model.watcher = Watcher.over(
            self.directories[name], name, engine.manifest.labels, self._log, self._alpha
        )
        return model

    def _served_anew(self, name: str, engine: Engine) -> ServedModel:
        old = self._served.get(name)
        layers, labels = engine.manifest.exit_layers, engine.manifest.labels
        if old and (old.tally.layers, old.tally.labels) == (layers, labels):
            return ServedModel(name, engine, self._batching, old.tally)
        return ServedModel(name, engine, self._batching, ModelTally(layers, labels))

    def reload(self, name: str) -> bool:
        """Open a directory anew, and return whether that worked; if not, the old model stays."""
        with self._lock:
            seen = signature(self.directories[name])
            try:
                model = self._opened(name)
            except (EngineError, OSError) as error:
                self.failed_reloads[name] += 1
                LOG.warning("%s: not reloaded, the old model goes on: %s", name, error)
                return False
            self._served[name] = model
            self._signatures[name] = seen
            self._pauses.pop(name, None)
            self.reloads[name] += 1
            LOG.warning("%s: reloaded from %s", name, self.directories[name])
            return True

    def reload_all(self) -> None:
        """Open all directories anew."""
        for name in self.directories:
            self.reload(name)

    def look(self) -> None:
        """Open the directories anew that have changed since they were opened.

        A directory may be half copied: then it is tried again later.
        """
        for name, directory in self.directories.items():
            now = signature(directory)
            if now is None or now == self._signatures[name]:
                continue
            left, pause = self._pauses.get(name, (0, 1))
            if left > 0:
                self._pauses[name] = left - 1, pause
            elif not self.reload(name):
                self._pauses[name] = pause, min(2 * pause, LONGEST_PAUSE)


def _curve_of(directory: Path) -> Optional[Curve]:
    """Return the curve of a directory, if it has one.

    # Raises

    `EngineError` if the file is damaged.
    """
    try:
        return Curve.load(directory)
    except ValueError as error:
        raise EngineError(str(error)) from error


def signature(directory: Path) -> Any:
    """Return what changes when a directory is replaced or its manifest written anew."""
    try:
        status = (directory / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
