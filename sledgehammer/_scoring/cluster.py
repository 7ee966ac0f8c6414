"""Score on a Ray cluster: each actor has an engine, and takes one input file after another."""

import contextlib
import json
import logging
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set

from sledgehammer._scoring.job import Job, Part, Tally, finished_tally
from sledgehammer._scoring.parts import PartWriter
from sledgehammer._scoring.places import ScoringError, folder_at
from sledgehammer.engine.answering import Job as Work
from sledgehammer.engine.answering import LineAnswerer
from sledgehammer.engine.lines import Tally as LineTally
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.support.owned import scratch_folder

LOCAL = "local"
"""The address that starts a cluster on this machine, for the time of the job."""

PART, TALLY, PROBLEM = "part", "tally", "problem"
"""The columns of what actors take and return."""


class PartScorer:
    """Open an engine on the machine where this actor runs, and score the parts that it is given.

    # Parameters

    work : `Dict[str, Any]`
        The fields of an `engine.answering.Job`, whose directory is not used.
    job : `Job`
    inputs, output : `str`
        Locations of folders that this machine can reach.
    files : `Any`
        A reference to the engine's files, by their path within its directory.
    """

    def __init__(
        self, work: Dict[str, Any], job: Job, inputs: str, output: str, files: Any
    ) -> None:
        import ray

        self._job = job
        self._inputs = folder_at(inputs)
        self._output = folder_at(output)
        self._open = ExitStack()
        directory = self._open.enter_context(scratch_folder()) / "engine"
        for name, content in ray.get(files).items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        self._answerer = LineAnswerer(Work(**{**work, "directory": str(directory)}))

    def __call__(self, batch: Dict[str, Any]) -> Dict[str, List[Any]]:
        """Score the parts of these numbers."""
        results: Dict[str, List[Any]] = {PART: [], TALLY: [], PROBLEM: []}
        for number in batch[PART].tolist():
            tally, problem = Tally(), ""
            try:
                tally = self._score(self._job.parts[number])
            except OSError as error:
                problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            except (EngineError, ScoringError) as error:
                problem = str(error)
            results[PART].append(number)
            results[TALLY].append(json.dumps(asdict(tally)))
            results[PROBLEM].append(problem)
        return results

    def _score(self, part: Part) -> Tally:
        # Ray repeats a task whose result was lost with a machine, or never came.
        if (earlier := finished_tally(self._output, part)) is not None:
            return earlier
        manifest = self._answerer.engine.manifest
        tallies: List[Tally] = []
        with PartWriter(
            self._job, self._inputs, self._output, manifest.fields, manifest.labels,
            lambda _, tally: tallies.append(tally),
        ) as writer:  # fmt: skip
            with contextlib.closing(writer.lines([part])) as lines:
                for answer in self._answerer.answers(lines, LineTally()):
                    writer.take(json.loads(answer))
            writer.finish()
        return tallies[0]


def score_on_ray(
    address: str,
    work: Work,
    job: Job,
    inputs: str,
    output: str,
    parts: Sequence[Part],
    actors: Optional[int],
    finished: Callable[[Part, Tally], None],
) -> None:
    """Score parts on a cluster; those of a machine that is lost are done on the others.

    # Parameters

    address : `str`
        Of the cluster; `auto` or `local`.
    work : `Work`
        How lines are answered.
    inputs, output : `str`
        Locations of the folders.
    actors : `int`, optional
        The most engines at a time; as many as the cluster has cores for if `None`.
    finished : `Callable[[Part, Tally], None]`
        Is called with each part that is whole.

    # Raises

    `ScoringError` if Ray is not installed or there is no such cluster, or for the first part that
    can't be scored.
    """
    with _connected(address, (actors or usable_cores()) * (work.threads or 1)) as ray:
        cores = int(ray.cluster_resources().get("CPU", 1))
        most = min(actors or max(1, cores // (work.threads or 1)), len(parts))
        numbers = {part.name: number for number, part in enumerate(job.parts)}
        tasks = ray.data.from_items(
            [{PART: numbers[part.name]} for part in parts], override_num_blocks=len(parts)
        )
        constructed = {
            "work": asdict(work), "job": job, "inputs": _absolute(inputs),
            "output": _absolute(output), "files": ray.put(_files_of(Path(work.directory))),
        }  # fmt: skip
        results = tasks.map_batches(
            PartScorer,
            batch_size=1,
            fn_constructor_kwargs=constructed,
            num_cpus=work.threads or 1,
            # A part that waited for a busy actor would be the last of all.
            compute=ray.data.ActorPoolStrategy(
                min_size=1, initial_size=most, max_size=most, max_tasks_in_flight_per_actor=1
            ),
        )
        _collect(results.iter_rows(), job, parts, finished)


def _collect(
    results: Iterator[Dict[str, Any]],
    job: Job,
    parts: Sequence[Part],
    finished: Callable[[Part, Tally], None],
) -> None:
    seen: Set[str] = set()
    for result in results:
        if result[PROBLEM]:
            raise ScoringError(result[PROBLEM])
        part = job.parts[result[PART]]
        if part.name not in seen:
            seen.add(part.name)
            finished(part, Tally(**json.loads(result[TALLY])))
    if missing := [part.name for part in parts if part.name not in seen]:
        raise ScoringError(f"the cluster returned no result for {missing[0]}; run it again")


@contextlib.contextmanager
def _connected(address: str, cores: int) -> Iterator[Any]:
    """Connect to a cluster, or start one, and leave it at the end of the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ScoringError(
            f"--ray needs {error.name}: pip install 'allennlp-sledgehammer[ray]'"
        ) from error
    options: Dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options.update(num_cpus=cores, include_dashboard=False)
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ScoringError(f"no Ray cluster at {address!r}: {reason}") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # Standard output is for the result; Ray's threads print there when a machine is lost.
        with contextlib.redirect_stdout(sys.stderr):
            yield ray
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ScoringError(f"the cluster failed: {lines[-1].strip()}") from error
    finally:
        ray.shutdown()


def _absolute(location: str) -> str:
    """Return a location as other processes know it."""
    return location if "://" in location else os.path.abspath(location)


def _files_of(directory: Path) -> Dict[str, bytes]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}
