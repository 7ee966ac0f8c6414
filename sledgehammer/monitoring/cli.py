"""Run `sledgehammer monitor`: have the texts of a model changed? Without AllenNLP and torch."""

import argparse
import sys
from pathlib import Path
from typing import Any, Iterator, List, Sequence, Tuple

import numpy as np

from sledgehammer.engine import Engine, EngineError, load
from sledgehammer.engine.manifest import write
from sledgehammer.monitoring.drift import ALPHA, DriftMonitor
from sledgehammer.monitoring.reference import REFERENCE, Reference
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.jsonl import parse_line, text_or_pair, texts_of
from sledgehammer.support.usage import UsageError, UsageParser, print_usage_error

PROG = "sledgehammer monitor"

DESCRIPTION = """\
Test whether texts are like those of the reference in DIR: the confidence and the label of the first
exit, and the length. LOG is what `sledgehammer serve --log` wrote, or JSON lines with texts, which are
run up to the first exit. A false alarm comes with probability --alpha at most, however long LOG is.

With --write-reference LOG becomes the reference of DIR. Take texts like those to come that the model
was not trained on; labels are not needed."""

EXAMPLE = """\
example:
  sledgehammer monitor --engine out/sst_int8 validation.jsonl --write-reference
  sledgehammer serve out/sst_int8 --log served.jsonl
  sledgehammer monitor --engine out/sst_int8 served.jsonl

exit codes:
  0  no change noticed, or the reference was written
  1  an error
  2  wrong command line
  3  the texts have changed"""

CHANGED = 3

ROWS = 256
"""Texts that are run at a time."""

Seen = Tuple[float, int, int]
"""The first exit's confidence, the number of its label, and the length of a text."""


def main(arguments: Sequence[str]) -> int:
    """Run `sledgehammer monitor ARGUMENTS`, and return the exit code."""
    try:
        parsed = _parser().parse_args(list(arguments))
    except UsageError as error:
        return print_usage_error(PROG, error)
    try:
        return _monitor(parsed)
    except OSError as error:
        print(f"{PROG}: error: {error.filename}: {error.strerror}", file=sys.stderr)
    except ValueError as error:  # an EngineError is one
        print(f"{PROG}: error: {error}", file=sys.stderr)
    return 1


def _parser() -> UsageParser:
    parser = UsageParser(PROG, DESCRIPTION, EXAMPLE)
    parser.add_argument("log", type=Path, metavar="LOG")
    parser.add_argument("--engine", type=Path, required=True, metavar="DIR", help="exported model")
    parser.add_argument("--write-reference", action="store_true", help="make LOG the reference")
    parser.add_argument("--alpha", type=_probability, default=ALPHA, help="default: %(default)s")
    parser.add_argument("--threads", type=positive_int, metavar="N")
    parser.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
    return parser


def _probability(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def _monitor(parsed: argparse.Namespace) -> int:
    engine = load(parsed.engine, parsed.threads)
    seen = _seen(parsed.log, engine)
    if parsed.write_reference:
        columns = [np.array(column) for column in zip(*seen, strict=True)] or [np.empty(0)] * 3
        confidence, labels, lengths = columns
        reference = Reference.of(confidence, labels, len(engine.manifest.labels), lengths)
        reference.save(parsed.engine)
        write(parsed.engine, engine.manifest)
        print(f"the reference of {parsed.engine} is {reference.rows} rows of {parsed.log}")
        return 0
    known = Reference.load(parsed.engine)
    if known is None:
        raise EngineError(f"{parsed.engine} has no {REFERENCE}: write one with --write-reference")
    monitor = DriftMonitor(known, parsed.alpha)
    for one in seen:
        monitor.see(*one)
    print(monitor.report())
    return CHANGED if monitor.raised else 0


def _seen(path: Path, engine: Engine) -> Iterator[Seen]:
    """Yield what the first exit says about each line.

    # Raises

    `ValueError` that names the line, for one that is neither of a log nor has the texts.
    """
    numbers = {label: number for number, label in enumerate(engine.manifest.labels)}
    texts: List[Any] = []
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line_number, line in enumerate(lines, 1):
            content, problem = parse_line(line)
            try:
                if problem:
                    raise ValueError(problem)
                if "first_confidence" in content:
                    yield _logged(content, numbers)
                    continue
                found = texts_of(content, engine.manifest.fields)
            except ValueError as error:
                raise ValueError(f"{path}, line {line_number}: {error}") from error
            texts.append(text_or_pair(found))
            if len(texts) == ROWS:
                yield from _run(engine, texts)
                texts = []
    if texts:
        yield from _run(engine, texts)


def _logged(content: Any, numbers: Any) -> Seen:
    """Return what a line of the server's log says."""
    confidence, tokens = content["first_confidence"], content.get("tokens")
    label = content.get("first_label")
    if not isinstance(label, str) or label not in numbers:
        raise ValueError(f"this model has no label {label!r:.80}: is the log of another one?")
    if not isinstance(confidence, float) or not 0 <= confidence <= 1 or type(tokens) is not int:
        raise ValueError("first_confidence must be between 0 and 1, and tokens a whole number")
    return confidence, numbers[label], tokens


def _run(engine: Engine, texts: List[Any]) -> Iterator[Seen]:
    """Run texts up to the first exit; those of like length together, yielded in order."""
    encoded = engine.tokenizer.encode(texts)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
    said: List[Any] = [None] * len(encoded)
    for first in range(0, len(order), 32):
        rows = order[first : first + 32]
        batch = engine.encode_batch([encoded[i] for i in rows], engine.settings({}, len(rows)))
        probs = engine.advance(batch)
        for i, row in zip(rows, probs.tolist()):
            said[i] = max(row), int(np.argmax(row)), len(encoded[i].ids)
    yield from said
