"""Prepare and report the benchmarks of the eager model: rows, arguments, figures."""

import argparse
import platform
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import torch

from sledgehammer.benchmark.timing import Timing
from sledgehammer.commands.base import write_json
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import open_archive
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import TokenTensors


class Material(NamedTuple):
    """Hold a model, and rows as its input.

    # Parameters

    model : `MultiExitClassifier`
        In evaluation mode.
    rows : `List[TokenTensors]`
        Each row by itself, (1, tokens), in random order.
    """

    model: MultiExitClassifier
    rows: List[TokenTensors]

    def batches(self, positions: Sequence[int], size: int) -> Iterator[TokenTensors]:
        """Yield padded batches of the rows at `positions`, in that order."""
        for start in range(0, len(positions), size):
            yield stack_rows([self.rows[i] for i in positions[start : start + size]])


def stack_rows(rows: Sequence[TokenTensors]) -> TokenTensors:
    """Return single rows as one padded batch."""
    return {
        name: torch.nn.utils.rnn.pad_sequence([row[name][0] for row in rows], batch_first=True)
        for name in rows[0]
    }


def parser(
    name: str, description: Optional[str], rows: int, rounds: int
) -> argparse.ArgumentParser:
    """Return a parser with the arguments that both benchmarks take."""
    new = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    new.add_argument("archive", help="a trained archive (model.tar.gz), or its folder")
    new.add_argument("data", help="data in the format of the archive's reader")
    new.add_argument("--rows", type=int, default=rows, metavar="N", help=f"default {rows}")
    new.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"default {rounds}")
    new.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    new.add_argument("--output", type=Path, metavar="FILE.json")
    return new


def prepare(arguments: argparse.Namespace) -> Material:
    """Load the archive and some rows of the data, drawn at random."""
    torch.set_num_threads(arguments.threads)
    opened = open_archive(arguments.archive)
    rows = read_rows(opened.reader, arguments.data, labelled=False)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    tokens = []
    for position in order[: arguments.rows].tolist():
        tokens.append(opened.reader.tensors(opened.reader.encode([rows[position].texts])))
    assert isinstance(opened.model, MultiExitClassifier), "exported models are measured elsewhere"
    return Material(opened.model, tokens)


def ratio_of(timing: Timing, reference: Timing) -> Dict[str, Any]:
    """Return `timing` / `reference`, round by round: median and quartiles."""
    ratio = reference.ratio(timing)
    return {"median": ratio.median, "quartiles": ratio.quartiles}


def shown(figure: Dict[str, Any], digits: int = 3) -> str:
    """Return a median and its quartiles as text."""
    low, high = figure["quartiles"]
    return f"{figure['median']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def milliseconds(timing: Timing, texts: int) -> Dict[str, Any]:
    """Return the milliseconds for one text: median and quartiles."""
    scale = 1000 / texts
    return {"median": scale * timing.median, "quartiles": [scale * q for q in timing.quartiles]}


def finish(arguments: argparse.Namespace, material: Material, results: Dict[str, Any]) -> None:
    """Print how the figures were measured, and write the report if `--output` is given."""
    lengths = torch.tensor([row["input_ids"].size(1) for row in material.rows])
    circumstances = {
        "rows": len(material.rows),
        "mean_tokens": float(lengths.double().mean()),
        "longest": int(lengths.max()),
        "rounds": arguments.rounds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print("\n" + ", ".join(f"{name} {value}" for name, value in circumstances.items()))
    if arguments.output:
        write_json({**circumstances, **results}, arguments.output)
