"""Measure accuracy and wall-clock time with pruning, quantisation and exits, in all combinations."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchmarks.compare.measuring import tradeoff
from benchmarks.compare.plan import Run
from benchmarks.study.plan import Dataset, data_root, test_path
from benchmarks.study.training import archive
from sledgehammer.analysis.all_exits import run_all_exits
from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.rounds import Result, Workload, time_contenders
from sledgehammer.dataset_readers.base import TransformerReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.model.archives import open_archive

KEPT = 0.5
"""The share of the attention heads and of the feed-forward width that a pruned model keeps."""
MAX_DROP = 0.01
"""How much accuracy early exit may cost on the validation rows, against the last exit."""
TIMED_ROWS = 60
ROUNDS = 5


@dataclass(frozen=True)
class Compressed:
    """Name a way to make the model cheaper.

    # Parameters

    system : `str`
        `"standard"` (one exit at the top) or `"joint"` (an exit after every layer).
    pruned, int8 : `bool`
        With `int8`, it is an engine for ONNX Runtime; without, it runs eagerly in float32.
    """

    system: str
    pruned: bool
    int8: bool

    @property
    def name(self) -> str:
        """Return what the report calls it."""
        parts = ["pruned" * self.pruned, "int8" * self.int8, "exits" * (self.system == "joint")]
        return " + ".join(filter(None, parts)) or "standard"


ALL = [
    Compressed(system, pruned, int8)
    for int8 in (False, True)
    for pruned in (False, True)
    for system in ("standard", "joint")
]


def measure_compressors(dataset: Dataset, data: Optional[str], out: Path) -> List[Dict[str, Any]]:
    """Return each one's accuracy, layer speedup, and wall-clock speedup against the standard model.

    Pruned and exported models are kept in `out`.
    """
    points_of: Dict[str, Dict[str, Point]] = {}
    contenders = []
    for compressed in ALL:
        path = _make(compressed, dataset, data, out)
        points = _points(path, dataset, data)
        points_of[compressed.name] = points
        kind = "engine" if compressed.int8 else "archive"
        contenders.append(Contender(compressed.name, kind, path, points["validation"].number))
    rows = read_rows(open_archive(contenders[0].path).reader, test_path(dataset, data))
    texts = [row.texts for row in rows[:: max(1, len(rows) // TIMED_ROWS)][:TIMED_ROWS]]
    workload = Workload(texts, {}, [1], ROUNDS)
    results, _ = time_contenders(contenders, usable_cores(), workload)
    reference = next(result for result in results if result.contender == ALL[0].name)
    return [
        {
            "name": result.contender,
            **_figures(result, reference, points_of[result.contender]["test"]),
        }
        for result in results
    ]


def _figures(result: Result, reference: Result, point: Point) -> Dict[str, Any]:
    return {
        "accuracy": point.accuracy,
        "setting": point.setting,
        "layer_speedup": point.layer_speedup,
        "p50_milliseconds": result.p50,
        "p50_speedup": result.latency_ratios.get(reference.contender, [1.0, 1.0, 1.0]),
        "throughput_speedup": result.throughput_ratios.get(reference.contender, [1.0, 1.0, 1.0]),
    }


def _points(path: str, dataset: Dataset, data: Optional[str]) -> Dict[str, Point]:
    """Return the fastest point that loses little on the validation rows, and its test figures."""
    opened = open_archive(path)
    validation = f"{data_root(dataset, data)}{dataset.train}#validation"
    points: Dict[str, Point] = {}
    for part, rows_at in (("validation", validation), ("test", test_path(dataset, data))):
        rows = read_rows(opened.reader, rows_at)
        traded = tradeoff(opened, run_all_exits(*opened, rows), "confidence")
        if part == "validation":
            curve = traded.curve(traded.grid())
            wish = Wish(max_accuracy_drop=MAX_DROP)
            fastest = choose(curve, [0.0] * len(curve), curve[-1], wish)
            assert fastest is not None, "the full model meets it"
            points[part] = fastest
        else:
            points[part] = traded.curve([points["validation"].number])[0]
    return points


def _make(compressed: Compressed, dataset: Dataset, data: Optional[str], out: Path) -> str:
    """Prune and export what is not there yet, and return the path of the archive or engine."""
    path = archive(Run(dataset, compressed.system, dataset.seeds[0], out), out)
    train = f"{data_root(dataset, data)}{dataset.train}"
    if compressed.pruned:
        pruned = path.with_name("pruned.tar.gz")
        if not pruned.is_file():
            reader = open_archive(str(path)).reader
            with tempfile.TemporaryDirectory() as folder:
                # Fine-tuning sees the rows that the archive was trained on, and no others.
                training = _write_lines(
                    reader, f"{train}#train", Path(folder, "0"), dataset.train_rows
                )
                validation = _write_lines(reader, f"{train}#validation", Path(folder, "1"))
                _sledgehammer(
                    "prune", path, training, "-o", pruned, "--heads", KEPT, "--width", KEPT,
                    "--validation", validation, "--json-lines", "--epochs", 1,
                )  # fmt: skip
        path = pruned
    if compressed.int8:
        directory = path.with_name(path.name.removesuffix(".tar.gz") + "-int8")
        if not directory.is_dir():
            _sledgehammer(
                "export", path, directory, "--precision", "int8", "--recalibrate",
                f"{train}#validation",
            )  # fmt: skip
        path = directory
    return str(path)


def _write_lines(
    reader: TransformerReader, source: str, target: Path, limit: Optional[int] = None
) -> Path:
    """Write the first rows of some data, or all without a limit, as JSON lines."""
    with open(target, "w") as file:
        for row in read_rows(reader, source)[:limit]:
            texts = dict(zip(reader.fields, row.texts))
            file.write(json.dumps({**texts, "label": row.label}) + "\n")
    return target


def _sledgehammer(*arguments: Any) -> None:
    subprocess.run([sys.executable, "-m", "sledgehammer", *map(str, arguments)], check=True)
