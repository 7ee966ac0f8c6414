"""Measure whether a text's answer depends on its neighbours, and what it costs if it does not.

    python -m benchmarks.isolation DATA out/sst_int8 out/sst_int8-dynamic out/sst/model.tar.gz \\
        --batches 10000

Each text is answered alone, and then in random batches of 1 to 128 texts, in random places. Engines
of the same archive are timed in turns, in one thread, with all exits: single texts, and batches of
32 texts of about the same length.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from tabulate import tabulate

from benchmarks.material import ratio_of
from sledgehammer.analysis.isolation import isolation_of
from sledgehammer.benchmark.machine import describe_machine
from sledgehammer.benchmark.timing import Timing, alternate
from sledgehammer.engine import Engine, load
from sledgehammer.engine.batch import Arrays
from sledgehammer.engine.manifest import is_engine
from sledgehammer.engine.tokenizer import Encoded

TIMED = 128
"""How many texts are timed."""

BATCH = 32


def open_engine(path: str, threads: int) -> Engine:
    """Open an exported model, or an archive, which runs eagerly in float32."""
    if is_engine(path):
        return load(path, threads)
    from sledgehammer.export.eager import eager_engine
    from sledgehammer.model.archives import open_archive

    return eager_engine(open_archive(path))


def time_in_turns(
    engines: Dict[str, Engine], encoded: Sequence[Encoded], rounds: int
) -> Dict[str, Dict[str, Timing]]:
    """Return the times of each engine, for single texts and for batches."""
    times: Dict[str, Dict[str, Timing]] = {name: {} for name in engines}
    by_length = sorted(encoded[:TIMED], key=lambda row: len(row.ids))
    for kind, size in (("single", 1), ("batch", BATCH)):
        batches = [by_length[first : first + size] for first in range(0, len(by_length), size)]
        runs = {
            name: _runner(engine, [engine.tokenizer.batch(rows) for rows in batches])
            for name, engine in engines.items()
        }
        for name, timing in alternate(runs, rounds).items():
            times[name][kind] = timing
    return times


def _runner(engine: Engine, batches: List[Arrays]) -> Callable[[], None]:
    def run() -> None:
        for tokens in batches:
            engine.run_all_exits(tokens)

    return run


def measure(arguments: argparse.Namespace, texts: Sequence[Any]) -> List[Dict[str, Any]]:
    """Return, for each model, how often answers change with their neighbours, and its times."""
    engines = {path: open_engine(path, arguments.threads) for path in arguments.models}
    encoded = next(iter(engines.values())).tokenizer.encode(texts)
    times = time_in_turns(engines, encoded, arguments.rounds)
    first = arguments.models[0]
    return [
        {
            "model": path,
            "runtime": engine.manifest.runtime,
            "precision": engine.manifest.precision,
            **vars(isolation_of(engine, encoded, arguments.batches)),
            # As multiples of the first model's times.
            "time": {kind: ratio_of(times[path][kind], times[first][kind]) for kind in times[path]},
        }
        for path, engine in engines.items()
    ]


def _row(result: Dict[str, Any]) -> Dict[str, str]:
    rows = result["rows"]
    changed = {n: f"{result[n] / rows:.2%}" for n in ("labels", "exits", "probabilities")}
    times = {f"time, {kind}": f"{t['median']:.2f}" for kind, t in result["time"].items()}
    return {
        "runtime": result["runtime"], "precision": result["precision"], **changed,
        "largest difference": f"{result['probability_difference']:.1g}", **times,
    }  # fmt: skip


def main(arguments: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.isolation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="rows, in the format of the archive's reader")
    parser.add_argument("models", nargs="+", metavar="MODEL", help="exported models or archives")
    parser.add_argument("--batches", type=int, default=1000, metavar="N")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write JSON here")
    parsed = parser.parse_args(arguments)

    from sledgehammer.dataset_readers.json_lines import read_rows
    from sledgehammer.model.archives import open_archive

    rows = read_rows(open_archive(parsed.models[0]).reader, parsed.data)
    texts = [row.texts[0] if len(row.texts) == 1 else tuple(row.texts) for row in rows]
    results = measure(parsed, texts)
    print(
        f"{len(texts)} texts, {parsed.batches} random batches, {results[0]['rows']} rows in them; "
        "shares of the rows that change with their neighbours; times against the first\n"
    )
    print(tabulate([_row(r) for r in results], headers="keys", tablefmt="github"))
    if parsed.output:
        content = {"machine": describe_machine(), "data": parsed.data, "results": results}
        parsed.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    import sledgehammer.plugin  # noqa: F401  registers everything

    main()
