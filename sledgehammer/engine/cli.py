"""Run `sledgehammer predict` with exported models: JSON lines in and out, no AllenNLP or torch."""

import argparse
import json
import lzma
import os
import sys
import zlib
from pathlib import Path
from typing import Any, Dict, List, Sequence

from sledgehammer.engine.answering import Destination, Job, answer_lines
from sledgehammer.engine.manifest import EngineError, is_engine
from sledgehammer.engine.schedule import BATCH_SIZE
from sledgehammer.engine.workers import answer_lines_with_workers
from sledgehammer.policies import check_for_some_policy, settings_in
from sledgehammer.support.arguments import positive_int, threshold
from sledgehammer.support.files import not_a_file
from sledgehammer.support.usage import UsageError, UsageParser, print_usage_error, seconds

PROG = "sledgehammer predict"

ALLENNLP_ONLY = (
    "--use-dataset-reader", "--dataset-reader-choice", "--multitask-head", "--overrides",
    "--cuda-device", "--include-package", "--weights-file", "--predictor",
    "--file-friendly-logging",
)  # fmt: skip
"""Options that only AllenNLP's own command has."""

EXPORTED_ONLY = ("threads", "workers", "pool", "max_wait")
"""Options that only exported models have."""

DESCRIPTION = """\
Answer each line of INPUT, in order. A line is {"text": ...}, or for a model of pairs
{"premise": ..., "hypothesis": ...}. It may also have "threshold", or another setting of the policy,
for this line only. The answer has the "id" of its line; "label" is ignored; any other field is an
error unless --keep names it. A line that can't be answered gets {"error": ..., "line": N}. The
answer to a text that was longer than the model can read has "truncated": true.

DIR is an exported model (`sledgehammer export`). With an archive, or with an option that is not
listed here, `allennlp predict` does the work. It has all of these options except --threads,
--workers, --pool and --max-wait: see `allennlp predict --help`."""

EXAMPLE = """\
example:
  sledgehammer predict out/sst_int8 reviews.jsonl --output-file answers.jsonl --silent
  tail -f reviews.jsonl | sledgehammer predict out/sst_int8 - --threshold 0.8
  sledgehammer predict out/sst_int8 reviews.txt --text-lines

exit codes:
  0  every line has its answer
  1  no line could be answered, or another error
  2  wrong command line
  3  some lines could not be answered"""

WAIT = 0.1
"""Seconds that an answer may wait for more input, unless --max-wait is given or INPUT is a file."""


def takes(arguments: Sequence[str]) -> bool:
    """Return whether this module runs a command line of `sledgehammer`.

    It runs `predict` with an exported model, unless there is an option that only AllenNLP has;
    and it shows the help of `predict`.
    """
    if list(arguments[:1]) != ["predict"]:
        return False
    rest = arguments[1:]
    if "-h" in rest or "--help" in rest:
        return True
    # The value of "-o" may follow without a space.
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

    The exit code: 0 if every line has an answer, 1 for an error or if no line has one, 2 for a
    wrong command line, 3 if some lines have none.
    """
    try:
        parsed = _parser().parse_args(list(arguments))
        settings = _settings(parsed)
        if parsed.silent and not parsed.output_file:
            raise UsageError("--silent needs --output-file: nobody would see the answers")
    except UsageError as error:
        return print_usage_error(PROG, error)
    try:
        if parsed.output_file and (problem := not_a_file(parsed.output_file)):
            raise EngineError(problem)
        return _predict(parsed, settings)
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"{PROG}: error: {message}", file=sys.stderr)
        return 1
    except (EngineError, EOFError, lzma.LZMAError, zlib.error) as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 1


def _parser() -> UsageParser:
    parser = UsageParser(PROG, DESCRIPTION, EXAMPLE)
    parser.add_argument("directory", metavar="DIR", help="an exported model")
    parser.add_argument(
        "input", metavar="INPUT", help="JSON lines (also .gz, .bz2, .xz); - is standard input"
    )
    parser.add_argument("--output-file", type=Path, metavar="FILE", help="appears when it is whole")
    parser.add_argument("--silent", action="store_true", help="print no answers")
    parser.add_argument("--batch-size", type=positive_int, default=BATCH_SIZE, metavar="N")
    _add_common(parser)
    _add_schedule(parser)
    parser.add_argument("--verbose", action="store_true", help="also show what libraries print")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that both archives and exported models have."""
    parser.add_argument(
        "--threshold", type=threshold, metavar="T",
        help='for lines without a threshold of their own: a number, or one a label: {"spam": 0.99}',
    )  # fmt: skip
    parser.add_argument(
        "--predictor-args",
        default="",
        metavar="JSON",
        help='any settings of the policy: {"max_exit_layer": 3}',
    )
    parser.add_argument(
        "--keep", action="append", default=[], metavar="FIELD",
        help='copy a field of each line to its answer, as "id" always is (repeatable)',
    )  # fmt: skip
    parser.add_argument("--text-lines", action="store_true", help="a line is plain text, not JSON")


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=positive_int, metavar="N",
        help="threads that share the work of a batch (default: one for each usable core, with "
        "--workers one)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=positive_int, metavar="N",
        help="processes that share the lines; with a core for each, more texts a second than from "
        "as many threads, for long inputs",
    )  # fmt: skip
    parser.add_argument(
        "--pool", action=argparse.BooleanOptionalAction,
        help="let texts that go on after an exit wait for others (default: whatever is faster)",
    )  # fmt: skip
    parser.add_argument(
        "--max-wait", type=seconds, metavar="SECONDS",
        help=f"the longest that an answer waits for more input ({WAIT} unless INPUT is a file)",
    )  # fmt: skip


def _settings(parsed: argparse.Namespace, archive: bool = False) -> Dict[str, Any]:
    """Return the policy's settings that the options give.

    # Parameters

    archive : `bool`, optional (default = `False`)
        Whether `--predictor-args` may also have the other arguments of the predictor.
    """
    predictor_args = parsed.predictor_args.strip()
    try:
        settings = json.loads(predictor_args) if predictor_args else {}
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--predictor-args is not JSON: {error}") from error
    known = set(settings_in(settings, nulls=True)) if isinstance(settings, dict) else set()
    if not isinstance(settings, dict) or (set(settings) - known and not archive):
        raise UsageError('--predictor-args takes settings of a policy: {"threshold": T}')
    if parsed.threshold is not None:
        if settings.get("threshold") is not None:
            raise UsageError("--threshold and --predictor-args both give a threshold")
        settings["threshold"] = parsed.threshold
    try:
        check_for_some_policy(settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return settings


def _predict(parsed: argparse.Namespace, settings: Dict[str, Any]) -> int:
    threads = parsed.threads or (1 if parsed.workers else None)
    job = Job(
        parsed.directory, settings, parsed.keep, parsed.text_lines, threads, parsed.batch_size,
        parsed.pool,
    )  # fmt: skip
    max_wait = parsed.max_wait
    if max_wait is None and not Path(parsed.input).is_file():
        max_wait = WAIT
    destination = Destination(parsed.output_file, not parsed.silent)
    if parsed.workers:
        return answer_lines_with_workers(job, parsed.workers, parsed.input, destination, max_wait)
    return answer_lines(job, parsed.input, destination, max_wait)


def for_archives(arguments: Sequence[str]) -> List[str]:
    """Return a command line of `predict` in the form that AllenNLP's own command takes.

    # Raises

    `SystemExit` for an option that only exported models have, or an invalid value of an option.
    """
    parser = UsageParser(PROG, help=False)
    _add_common(parser)
    _add_schedule(parser)
    try:
        parsed, rest = parser.parse_known_args(list(arguments))
        for name in EXPORTED_ONLY:
            if getattr(parsed, name) is not None:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is for exported models (sledgehammer export)")
        predictor_args = _settings(parsed, archive=True)
    except UsageError as error:
        print(f"{PROG}: error: {error}; see {PROG} --help", file=sys.stderr)
        raise SystemExit(2) from error
    if parsed.keep:
        predictor_args["keep"] = [*predictor_args.get("keep", []), *parsed.keep]
    if parsed.text_lines:
        predictor_args["text_lines"] = True
    return [*rest, "--predictor-args", json.dumps(predictor_args)] if predictor_args else rest
