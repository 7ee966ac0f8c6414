"""Small datasets for `sledgehammer score`, and what is in its parts."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

for needed in ("onnxruntime", "tokenizers"):
    pytest.importorskip(needed, reason=f"scoring is tested where {needed} is installed")

from tests.conftest import FIXTURES, ROOT  # noqa: E402

ENGINE = FIXTURES / "version_0.1.0" / "engine"
WORDS = "a good story about bees and the boring people who keep them".split()

ALONE = ("--batch-size", "1")
"""The fixture's int8 engine lets neighbours change an answer a little."""


def text(number: int) -> str:
    """A text that no other number has."""
    words = [WORDS[(number + i) % len(WORDS)] for i in range(1 + number % 7)]
    return " ".join([*words, str(number)])


def write_shards(folder: Path, shards: int, rows: int) -> List[Dict[str, Any]]:
    """Write JSON lines of `rows` rows each, a bad row among them, and return all rows."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = []
    for shard in range(shards):
        numbers = range(shard * rows, (shard + 1) * rows)
        table = [{"id": n, "text": "" if n % 10 == 7 else text(n)} for n in numbers]
        lines = "".join(json.dumps(row) + "\n" for row in table)
        (folder / f"shard-{shard:03d}.jsonl").write_text(lines)
        everything += table
    return everything


def command(*arguments: object) -> List[str]:
    return [sys.executable, "-m", "sledgehammer", "score", *map(str, arguments)]


def environment() -> Dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def score(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run `sledgehammer score` to its end."""
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=120
    )


def parts(folder: Path) -> List[Path]:
    return sorted(folder.glob("part-*"))


def rows_of(path: Path) -> List[Dict[str, Any]]:
    """Return the rows of a part, of whatever format, in the form of JSON lines."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        import pyarrow.parquet

        rows: List[Dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    with path.open(newline="") as file:
        return [_typed(row) for row in csv.DictReader(file)]


def _typed(row: Dict[str, str]) -> Dict[str, Any]:
    typed: Dict[str, Any] = {"probs": {}}
    for name, cell in row.items():
        if name.startswith("probs."):
            typed["probs"][name.removeprefix("probs.")] = float(cell) if cell else None
        elif name in ("row", "exit_layer", "layers_run", "confidence", "truncated"):
            typed[name] = json.loads(cell) if cell else None
        else:
            typed[name] = cell or None
    if None in typed["probs"].values():
        typed["probs"] = None
    return typed


def check_nothing_lost(output: Path, everything: Sequence[Dict[str, Any]]) -> None:
    """Check that each row of a dataset is there once, in order, with an answer or its error."""
    found = [row for part in parts(output) for row in rows_of(part)]
    assert [row["id"] for row in found] == [row["id"] for row in everything]
    for row, source in zip(found, everything):
        assert (row["error"] is None) == bool(source["text"]), row
        assert (row["label"] is None) == (row["error"] is not None), row
    assert not list(output.rglob("*.part")), "nothing half-written"
