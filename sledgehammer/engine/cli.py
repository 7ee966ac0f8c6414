"""`sledgehammer predict` for exported models: JSON lines in and out, without AllenNLP and torch."""

import argparse
import bz2
import contextlib
import gzip
import json
import lzma
import os
import sys
import zlib
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NoReturn,
    Optional,
    Sequence,
    TextIO,
)

from sledgehammer.engine.engine import load
from sledgehammer.engine.manifest import EngineError, is_engine
from sledgehammer.engine.source import Entry, Item, Known
from sledgehammer.engine.stream import BATCH_SIZE
from sledgehammer.policies import ExitPolicy, check_for_some_policy, settings_in
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.files import not_a_file, replacing
from sledgehammer.support.jsonl import parse_line, summary_of_bad_lines, texts_of

PROG = "sledgehammer predict"

ALLENNLP_ONLY = (
    "--use-dataset-reader", "--dataset-reader-choice", "--multitask-head", "--overrides",
    "--cuda-device", "--include-package", "--weights-file", "--predictor",
    "--file-friendly-logging",
)  # fmt: skip
"""Options with which AllenNLP's own command does the work."""

DESCRIPTION = """\
Answer each line of INPUT, in order. A line is {"text": ...}, or for a model of pairs
{"premise": ..., "hypothesis": ...}; "threshold", or another setting that the policy has, in it
holds for that line only. A line that can't be answered gets {"error": ..., "line": N}.

This is for the directory of an exported model (`allennlp export`). With an archive, or with an
option that is not listed here, it is `allennlp predict`: see `allennlp predict --help`."""

EXAMPLE = """\
example:
  sledgehammer predict out/sst_int8 reviews.jsonl --output-file answers.jsonl --silent
  tail -f reviews.jsonl | sledgehammer predict out/sst_int8 - --threshold 0.8"""

WAIT = 0.1
"""Seconds that an answer may wait for more input, unless told otherwise or from a file."""


class UsageError(Exception):
    """The command line is not as it must be."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def takes(arguments: Sequence[str]) -> bool:
    """Whether a command line of `sledgehammer` is for this module.

    It is, if it asks for `predict` with the directory of an exported model, and for nothing that
    only AllenNLP has; or for the help of `predict`.
    """
    if list(arguments[:1]) != ["predict"]:
        return False
    rest = arguments[1:]
    if "-h" in rest or "--help" in rest:
        return True
    # "-o" may have its value right behind it.
    if any(a.split("=")[0] in ALLENNLP_ONLY or a.startswith("-o") for a in rest):
        return False
    try:
        parsed, _ = _parser().parse_known_args(list(rest))
    except UsageError:
        return any(is_engine(argument) for argument in rest)
    return is_engine(parsed.directory) and "://" not in parsed.input


def main(arguments: Sequence[str]) -> int:
    """Run `sledgehammer predict ARGUMENTS`.

    # Returns

    The exit code: 1 for an error, 2 for a wrong command line.
    """
    try:
        parsed = _parser().parse_args(list(arguments))
        settings = _settings(parsed)
        if parsed.silent and not parsed.output_file:
            raise UsageError("--silent without --output-file: nobody would see the answers")
    except UsageError as error:
        print(f"{PROG}: error: {error}; see {PROG} --help", file=sys.stderr)
        return 2
    try:
        if parsed.output_file and (problem := not_a_file(parsed.output_file)):
            raise EngineError(problem)
        _predict(parsed, settings)
    except BrokenPipeError:
        # Nobody reads on (`| head`). Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"{PROG}: error: {named}", file=sys.stderr)
        return 1
    except (EngineError, EOFError, lzma.LZMAError, zlib.error) as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROG,
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="an exported model")
    parser.add_argument(
        "input", metavar="INPUT", help="JSON lines (maybe .gz); - is standard input"
    )
    parser.add_argument("--output-file", type=Path, metavar="FILE", help="appears when it is whole")
    parser.add_argument("--silent", action="store_true", help="print no answers")
    parser.add_argument("--threshold", type=float, metavar="T", help="of lines without their own")
    parser.add_argument(
        "--predictor-args",
        default="",
        metavar="JSON",
        help='or any settings: {"max_exit_layer": 3}',
    )
    parser.add_argument("--batch-size", type=positive_int, default=BATCH_SIZE, metavar="N")
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="all usable cores if not given"
    )
    parser.add_argument(
        "--pool", action=argparse.BooleanOptionalAction,
        help="whether texts that go on after an exit wait for others (default: as is faster)",
    )  # fmt: skip
    parser.add_argument(
        "--max-wait", type=_seconds, metavar="SECONDS",
        help=f"answers don't wait longer for more input ({WAIT} unless INPUT is a file)",
    )  # fmt: skip
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def _settings(parsed: argparse.Namespace) -> Dict[str, Any]:
    """What the options say of the policy's settings."""
    text = parsed.predictor_args.strip()
    try:
        given = json.loads(text) if text else {}
    except ValueError as error:
        raise UsageError(f"--predictor-args is not JSON: {error}") from error
    if not isinstance(given, dict) or set(given) - set(settings_in(given, nulls=True)):
        raise UsageError('--predictor-args takes settings of a policy: {"threshold": T}')
    if parsed.threshold is not None:
        if given.get("threshold") is not None:
            raise UsageError("--threshold and --predictor-args both give a threshold")
        given["threshold"] = parsed.threshold
    try:
        check_for_some_policy(given)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return given


def _predict(parsed: argparse.Namespace, settings: Dict[str, Any]) -> None:
    engine = load(parsed.directory, parsed.threads)
    is_file = Path(parsed.input).is_file()
    max_wait = WAIT if parsed.max_wait is None and not is_file else parsed.max_wait
    bad_lines: List[int] = []
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(_open(parsed.input))
        write = _writer(stack, parsed, flush=not is_file)
        policy = engine.with_settings(settings)
        if problem := engine.choice_problem(policy):
            print(f"warning: {problem}", file=sys.stderr)
        answers = engine.stream(
            entries(lines, engine.manifest.fields, bad_lines, policy),
            batch_size=parsed.batch_size,
            pool=parsed.pool,
            max_wait=max_wait,
            **settings,
        )
        for answer in answers:
            write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    if bad_lines:
        print(summary_of_bad_lines(bad_lines), file=sys.stderr)


def entries(
    lines: Iterable[str], fields: Sequence[str], bad_lines: List[int], policy: ExitPolicy
) -> Iterator[Entry]:
    """The lines as entries of a stream.

    # Parameters

    fields : `Sequence[str]`
        Names of the texts in a line.
    bad_lines : `List[int]`
        Gets the numbers, counted from 1, of the lines that are answered with an error.
    policy : `ExitPolicy`
        Which says what settings a line may have.
    """
    for number, line in enumerate(lines, start=1):
        inputs, problem = parse_line(line)
        try:
            if problem:
                raise ValueError(problem)
            texts = texts_of(inputs, fields)
            own = settings_in(inputs)
            policy.checked(own)
        except ValueError as error:
            bad_lines.append(number)
            yield Known({"error": str(error), "line": number})
        else:
            yield Item(texts[0] if len(texts) == 1 else texts, settings=own)


def _open(path: str) -> TextIO:
    """Text whose undecodable bytes are lone surrogates, by which bad lines are known."""
    options: Dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
    if path == "-":
        # Not `sys.stdin`: its lock, held by a thread that reads, would stop Python's exit.
        return open(sys.stdin.fileno(), closefd=False, **options)
    openers: Dict[str, Callable[..., Any]] = {
        ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".lzma": lzma.open
    }  # fmt: skip
    return openers.get(Path(path).suffix, open)(path, "rt", **options)


def _writer(
    stack: contextlib.ExitStack, parsed: argparse.Namespace, flush: bool
) -> Callable[[str], None]:
    """Writes lines to where they are wanted."""
    file: Optional[TextIO] = None
    if parsed.output_file:
        partial = stack.enter_context(replacing(parsed.output_file))
        file = stack.enter_context(partial.open("w", encoding="utf-8"))
    shown = None if parsed.silent else sys.stdout

    def write(line: str) -> None:
        if file:
            file.write(line)
        if shown:
            shown.write(line)
            if flush:
                shown.flush()

    return write
