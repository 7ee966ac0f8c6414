"""Have the contenders take turns, and compute what comes of it."""

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
        Medians of the two parts of it, in milliseconds.
    throughput : `float`
        Texts a second, median over the rounds.
    latency_ratios, throughput_ratios : `Dict[str, List[float]]`
        How many times faster than each other contender: median over the rounds of the ratio of
        the p50s (of the throughputs, which is that of the means), and its quartiles.
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
    latency_ratios: Dict[str, List[float]]
    throughput_ratios: Dict[str, List[float]]


@dataclass
class Workload:
    """Hold what all contenders are given to do.

    # Parameters

    rows : `List[List[str]]`
        The texts of each row.
    exits : `Dict[str, Optional[List[int]]]`
        For contenders that must not decide themselves: the exit of each row, by name.
    batch_sizes : `Sequence[int]`
    rounds : `int`
    """

    rows: List[List[str]]
    exits: Dict[str, Optional[List[int]]]
    batch_sizes: Sequence[int]
    rounds: int


@dataclass
class _Times:
    """Hold the seconds of every batch, a list a round."""

    tokenise: List[List[float]]
    model: List[List[float]]

    def totals(self) -> List[np.ndarray]:
        return [np.add(t, m) for t, m in zip(self.tokenise, self.model)]


def time_contenders(
    contenders: Sequence[Contender], threads: int, workload: Workload
) -> "tuple[List[Result], Dict[str, Any]]":
    """Have the contenders take turns, each in a process of its own (see `take_turns`).

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
        name: Timing([float(np.median(batches)) for batches in of.totals()])
        for name, of in times.items()
    }
    whole = {
        name: Timing([float(batches.sum()) for batches in of.totals()])
        for name, of in times.items()
    }
    results = []
    for name, of in times.items():
        all_batches = 1000 * np.concatenate(of.totals())
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
                1000 * float(np.median(np.concatenate(of.tokenise))),
                1000 * float(np.median(np.concatenate(of.model))),
                rows / whole[name].median,
                _ratios(name, latency),
                _ratios(name, whole),
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
