"""Which precision is fastest on this machine, for `allennlp export --precision auto`."""

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
"""Texts that are timed one by one in a round."""

BATCH = 32
LONGEST = 32
"""Word pieces of the longest text; the others are shorter."""

GAIN = 1.05
"""What changes an archive's answers must be so much faster than float32."""


def candidates_of(runtime: str, with_ranges: bool) -> List[Format]:
    """The formats of a runtime in which a text's answer is its own, float32 first.

    # Parameters

    with_ranges : `bool`
        Whether there is data to take the ranges of activations from.
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
    """Export in several formats, time all exits of each in turns, and keep the fastest.

    # Parameters

    formats : `List[Format]`
        Float32 first: it stays, unless another is `GAIN` times as fast, on average over single
        texts and batches.

    # Returns

    The manifest of what was kept, with the times of all.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = {}
        for format in formats:
            place = Path(work, format.precision)
            place.mkdir()
            ranges = calibration if format.needs_calibration else None
            made[format.precision] = export(archive, opened, format, place, ranges)
        timings = time_engines(made, _tokens(opened, made))
        chosen = fastest({name: found["times_as_fast"] for name, found in timings.items()})
        shutil.copytree(Path(work, chosen), folder, dirs_exist_ok=True)
    manifest = replace(
        made[chosen].manifest,
        timings={"chosen": chosen, "precisions": timings, "machine": describe_machine()},
    )
    write(folder, manifest)
    _print(timings, chosen)
    return manifest


def fastest(times_as_fast: Dict[str, float]) -> str:
    """The name of the fastest, or the first, if no other is `GAIN` times as fast as that."""
    first, *_ = times_as_fast
    best = max(times_as_fast, key=times_as_fast.__getitem__)
    return best if times_as_fast[best] >= GAIN * times_as_fast[first] else first


def time_engines(engines: Dict[str, Engine], tokens: Arrays) -> Dict[str, Dict[str, Any]]:
    """Milliseconds a text of each engine, single and in a batch; all exits run.

    # Returns

    For each engine the medians `single` and `batch`, and `times_as_fast`: how many times faster
    than the first engine it is, the geometric mean of both.
    """
    lengths = tokens["attention_mask"].sum(axis=1)
    singles = [
        {name: array[row : row + 1, : lengths[row]] for name, array in tokens.items()}
        for row in range(SINGLES)
    ]
    runs = {
        (name, kind): _runner(engine, batches)
        for name, engine in engines.items()
        for kind, batches in (("single", singles), ("batch", [tokens]))
    }
    times = alternate(runs, ROUNDS)
    first, *_ = engines
    rows = {"single": SINGLES, "batch": len(lengths)}
    found: Dict[str, Dict[str, Any]] = {}
    for name in engines:
        gains = [times[name, kind].ratio(times[first, kind]).median for kind in rows]
        found[name] = {
            **{kind: _milliseconds(times[name, kind], count) for kind, count in rows.items()},
            "times_as_fast": (gains[0] * gains[1]) ** 0.5,
        }
    return found


def _runner(engine: Engine, batches: List[Arrays]) -> Callable[[], None]:
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


def _print(timings: Dict[str, Dict[str, Any]], chosen: str) -> None:
    print("\nmilliseconds a text, all exits, on random word pieces:\n")
    print_table(
        [
            {
                "precision": name,
                "single": f"{found['single']:.2f}",
                f"in batches of {BATCH}": f"{found['batch']:.2f}",
                "times as fast": f"{found['times_as_fast']:.2f}",
            }
            for name, found in timings.items()
        ]
    )
    print(f"\nchosen: {chosen}")
