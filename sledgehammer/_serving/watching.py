"""Watch what the first exit says of the texts: for drift, and for a log."""

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy import ndarray

from sledgehammer.engine import EngineError
from sledgehammer.monitoring.drift import ALPHA, DriftMonitor
from sledgehammer.monitoring.martingale import log10
from sledgehammer.monitoring.reference import Reference

LOG = logging.getLogger("sledgehammer._serving")


class Log:
    """Add lines to a file. A full disk stops the log, not the answers.

    # Parameters

    path : `Path`

    # Raises

    `OSError` if it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._failed = False

    def add(self, lines: List[str]) -> None:
        """Add lines, whole."""
        try:
            self._file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            if not self._failed:
                LOG.warning("the log is incomplete from now on: %s", error.strerror)
            self._failed = True


class Watcher:
    """Test the texts of one model for drift, and log what the first exit says of them.

    # Parameters

    name : `str`
        The model's.
    labels : `Sequence[str]`
    monitor : `DriftMonitor`, optional
    log : `Log`, optional
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str],
        monitor: Optional[DriftMonitor],
        log: Optional[Log],
    ) -> None:
        self._name = name
        self._labels = labels
        self._monitor = monitor
        self._log = log
        self._lock = threading.Lock()
        self._next = 0
        self._early: Dict[int, Optional[List[Any]]] = {}  # those that ran before earlier ones

    @staticmethod
    def over(
        directory: Path,
        name: str,
        labels: Sequence[str],
        log: Optional[Log],
        alpha: float = ALPHA,
    ) -> "Optional[Watcher]":
        """Return the watcher of a directory; `None` if there is nothing to do.

        # Raises

        `EngineError` if the directory's reference is damaged or for other labels.
        """
        try:
            reference = Reference.load(directory)
        except ValueError as error:
            raise EngineError(str(error)) from error
        if reference is not None and len(reference.labels) != len(labels):
            raise EngineError(f"the reference of {directory} is for another number of labels")
        if reference is None and log is None:
            return None
        monitor = None if reference is None else DriftMonitor(reference, alpha)
        return Watcher(name, labels, monitor, log)

    def see(self, numbers: ndarray, probs: ndarray, lengths: ndarray) -> None:
        """Take the first exit's probabilities, (rows, labels), and the lengths of new texts.

        # Parameters

        numbers : `ndarray`
            Shape (rows,): the texts' numbers in order of arrival. They run in another order, short
            ones first, which a test of exchangeability would take for a change.
        """
        labels = probs.argmax(axis=1).tolist()
        confidences = probs.max(axis=1).astype(np.float64).tolist()
        with self._lock:
            for number, *seen in zip(numbers.tolist(), confidences, labels, lengths.tolist()):
                # A text may come here twice, if it failed at a later exit.
                if number >= self._next:
                    self._early[number] = seen
            self._go_on()

    def skip(self, numbers: Sequence[int]) -> None:
        """Do not wait for texts that failed."""
        with self._lock:
            for number in numbers:
                if number >= self._next:
                    self._early.setdefault(number, None)
            self._go_on()

    def _go_on(self) -> None:
        """Take the texts before which none is missing."""
        ready = []
        while self._next in self._early:
            seen = self._early.pop(self._next)
            self._next += 1
            if seen is not None:
                ready.append(seen)
        if self._monitor is not None:
            before = len(self._monitor.raised)
            for one in ready:
                self._monitor.see(*one)
            if len(self._monitor.raised) > before:
                LOG.warning("%s: %s", self._name, self._monitor.report())
        if self._log is not None and ready:
            self._log.add([self._line(*one) for one in ready])

    def _line(self, confidence: float, label: int, length: int) -> str:
        return json.dumps(
            {
                "time": round(time.time(), 3), "model": self._name,
                "first_label": self._labels[label], "first_confidence": confidence,
                "tokens": length,
            }
        )  # fmt: skip

    def gauges(self) -> Dict[str, float]:
        """Return what `/metrics` tells: the evidence by statistic, and whether an alarm is on."""
        if self._monitor is None:
            return {}
        with self._lock:
            found = {f"drift_log10_{n}": log10(c) for n, c in self._monitor.capital().items()}
            return {**found, "drift_alarm": float(bool(self._monitor.raised))}
