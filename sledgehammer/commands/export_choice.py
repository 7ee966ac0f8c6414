"""Find the fastest precision on this machine, for `allennlp export --precision auto`."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from sledgehammer.benchmark.machine import describe_machine
from sledgehammer.benchmark.timing import Timing, alternate
from sledgehammer.commands.base import print_table
from sledgehammer.engine import Engine
from sledgehammer.engine.batch import Arrays
from sledgehammer.engine.manifest import Manifest, write
from sledgehammer.export.directory import RUNTIMES, Format, export, random_tokens
from sledgehammer.model.archives import Opened
from sledgehammer.network.encoder import TokenTensors

AUTO = "auto"

ROUNDS = 15
SINGLES = 8
"""How many texts a round times one by one."""

BATCH = 32
LONGEST = 32
"""Word pieces of the longest text; the others are shorter."""

GAIN = 1.05
"""How many times faster than float32 a precision must be to be worth changed answers."""


def candidates_of(runtime: str, with_ranges: bool) -> List[Format]:
    """Return a runtime's formats in which no answer depends on its neighbours, float32 first.

    # Parameters

    with_ranges : `bool`
        Whether there are data to measure the ranges of activations on.
    """
    formats = [Format(runtime, precision) for precision in RUNTIMES[runtime]]
    return [
        format
        for format in formats
        if format.activation_scales != "batch" and (with_ranges or not format.needs_calibration)
    ]


def export_fastest(
    archive: str,
    opened: Opened,
    formats: List[Format],
    folder: Path,
    calibration: Optional[List[TokenTensors]],
) -> Manifest:
    """Export in several formats, time all exits of each by turns, and keep the fastest.

    # Parameters

    formats : `List[Format]`
        Float32 first: it is kept unless another is `GAIN` times as fast, on average over single
        texts and batches.
    calibration : `List[TokenTensors]`, optional
        Batches to measure the ranges of activations on, for the formats that need them.

    # Returns

    The manifest of the export that was kept, with the times of all.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        engines = {}
        for format in formats:
            place = Path(work, format.precision)
            place.mkdir()
            ranges = calibration if format.needs_calibration else None
            engines[format.precision] = export(archive, opened, format, place, ranges)
        timings = time_engines(engines, _tokens(opened, engines))
        chosen = fastest({name: times["times_as_fast"] for name, times in timings.items()})
        shutil.copytree(Path(work, chosen), folder, dirs_exist_ok=True)
    manifest = replace(
        engines[chosen].manifest,
        timings={"chosen": chosen, "precisions": timings, "machine": describe_machine()},
    )
    write(folder, manifest)
    _print_timings(timings, chosen)
    return manifest


def fastest(times_as_fast: Dict[str, float]) -> str:
    """Return the name of the fastest, or the first name if none is `GAIN` times as fast as it."""
    first, *_ = times_as_fast
    best = max(times_as_fast, key=times_as_fast.__getitem__)
    return best if times_as_fast[best] >= GAIN * times_as_fast[first] else first


def time_engines(engines: Dict[str, Engine], tokens: Arrays) -> Dict[str, Dict[str, Any]]:
    """Time all exits of each engine, on single texts and on a batch.

    # Returns

    For each engine the medians `single` and `batch`, in milliseconds a text, and `times_as_fast`:
    how many times as fast as the first engine it is, the geometric mean over both.
    """
    lengths = tokens["attention_mask"].sum(axis=1)
    singles = [
        {name: array[row : row + 1, : lengths[row]] for name, array in tokens.items()}
        for row in range(SINGLES)
    ]
    runs = {
        (name, kind): _all_exits_of(engine, batches)
        for name, engine in engines.items()
        for kind, batches in (("single", singles), ("batch", [tokens]))
    }
    times = alternate(runs, ROUNDS)
    first, *_ = engines
    rows = {"single": SINGLES, "batch": len(lengths)}
    timings: Dict[str, Dict[str, Any]] = {}
    for name in engines:
        gains = [times[name, kind].ratio(times[first, kind]).median for kind in rows]
        timings[name] = {
            **{kind: _milliseconds(times[name, kind], count) for kind, count in rows.items()},
            "times_as_fast": (gains[0] * gains[1]) ** 0.5,
        }
    return timings


def _all_exits_of(engine: Engine, batches: List[Arrays]) -> Callable[[], None]:
    """Return a function that runs all exits of an engine on some batches."""

    def run() -> None:
        for tokens in batches:
            engine.run_all_exits(tokens)

    return run


def _milliseconds(timing: Timing, rows: int) -> float:
    return 1000 * timing.median / rows


def _tokens(opened: Opened, engines: Dict[str, Engine]) -> Arrays:
    inputs = next(iter(engines.values())).manifest.inputs
    model: Any = opened.model
    tokens = random_tokens(model, inputs, BATCH, LONGEST)
    return {name: tensor.numpy() for name, tensor in tokens.items()}


def _print_timings(timings: Dict[str, Dict[str, Any]], chosen: str) -> None:
    print("\nmilliseconds a text, all exits, on random word pieces:\n")
    print_table(
        [
            {
                "precision": name,
                "single": f"{times['single']:.2f}",
                f"in batches of {BATCH}": f"{times['batch']:.2f}",
                "times as fast": f"{times['times_as_fast']:.2f}",
            }
            for name, times in timings.items()
        ]
    )
    print(f"\nchosen: {chosen}")
