"""Let the contenders take turns, and compute their figures."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.processes import workers
from sledgehammer.benchmark.timing import Timing, take_turns


@dataclass(frozen=True)
class Result:
    """Hold the figures of one contender at one batch size and number of threads.

    # Parameters

    contender : `str`
    threads, batch_size : `int`
    mean, p50, p95, p99 : `float`
        Milliseconds from the texts of a batch to its answers, over all batches and rounds.
    tokenise, model : `float`
        Medians of the two parts of that time, in milliseconds.
    throughput : `float`
        Texts a second, median over the rounds.
    throughput_quartiles : `List[float]`
        Between which the middle half of the rounds lies.
    latency_ratios, throughput_ratios : `Dict[str, List[float]]`
        How many times faster this contender is than each other one: the median over the rounds,
        and its quartiles, of the ratio of the p50s (or of the times for all rows).
    """

    contender: str
    threads: int
    batch_size: int
    mean: float
    p50: float
    p95: float
    p99: float
    tokenise: float
    model: float
    throughput: float
    throughput_quartiles: List[float]
    latency_ratios: Dict[str, List[float]]
    throughput_ratios: Dict[str, List[float]]


@dataclass
class Workload:
    """Hold the work that all contenders do.

    # Parameters

    rows : `List[List[str]]`
        The texts of each row.
    exits : `Dict[str, Optional[List[int]]]`
        The exit of each row, by the name of a contender that must not decide for itself.
    batch_sizes : `Sequence[int]`
    rounds : `int`
    """

    rows: List[List[str]]
    exits: Dict[str, Optional[List[int]]]
    batch_sizes: Sequence[int]
    rounds: int


@dataclass
class _Times:
    """Hold the seconds that every batch took, a list for each round."""

    tokenise: List[List[float]]
    model: List[List[float]]

    def totals(self) -> List[np.ndarray]:
        """Return the seconds of both parts together."""
        return [np.add(t, m) for t, m in zip(self.tokenise, self.model)]


def time_contenders(
    contenders: Sequence[Contender], threads: int, workload: Workload
) -> "tuple[List[Result], Dict[str, Any]]":
    """Let the contenders take turns, each in a process of its own (see `take_turns`).

    # Returns

    The results, and the profile of each engine at the first batch size (see `profile`).

    # Raises

    `ConfigurationError` if a contender fails.
    """
    results = []
    with workers(contenders, threads) as started:
        for name, worker in started.items():
            worker.ask(do="rows", rows=workload.rows, exits=workload.exits.get(name))
        for batch_size in workload.batch_sizes:
            answers = take_turns(
                {n: partial(w.ask, do="round", batch_size=batch_size) for n, w in started.items()},
                workload.rounds,
                description=f"batch size {batch_size}, {threads} threads",
            )
            times = {
                name: _Times([r["tokenise"] for r in rounds], [r["model"] for r in rounds])
                for name, rounds in answers.items()
            }
            results += _results(times, threads, batch_size, len(workload.rows))
        first = workload.batch_sizes[0]
        profiles = {name: w.ask(do="profile", batch_size=first) for name, w in started.items()}
    return results, {name: profile for name, profile in profiles.items() if profile}


def _results(times: Dict[str, _Times], threads: int, batch_size: int, rows: int) -> List[Result]:
    latency = {
        name: Timing([float(np.median(batches)) for batches in its_times.totals()])
        for name, its_times in times.items()
    }
    all_rows = {
        name: Timing([float(batches.sum()) for batches in its_times.totals()])
        for name, its_times in times.items()
    }
    results = []
    for name, its_times in times.items():
        all_batches = 1000 * np.concatenate(its_times.totals())
        p50, p95, p99 = np.percentile(all_batches, [50, 95, 99]).tolist()
        results.append(
            Result(
                name,
                threads,
                batch_size,
                float(all_batches.mean()),
                p50,
                p95,
                p99,
                1000 * float(np.median(np.concatenate(its_times.tokenise))),
                1000 * float(np.median(np.concatenate(its_times.model))),
                rows / all_rows[name].median,
                [rows / seconds for seconds in reversed(all_rows[name].quartiles)],
                _ratios(name, latency),
                _ratios(name, all_rows),
            )
        )
    return results


def _ratios(name: str, timings: Dict[str, Timing]) -> Dict[str, List[float]]:
    ratios = {}
    for other, timing in timings.items():
        if other != name:
            ratio = timings[name].ratio(timing)
            ratios[other] = [ratio.median, *ratio.quartiles]
    return ratios
