"""Run `sledgehammer score`: without AllenNLP and torch."""

import argparse
import sys
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List, Optional, Sequence

from sledgehammer._scoring.job import Job, Part, Tally, begin, fingerprint, parts_of
from sledgehammer._scoring.local import score_here
from sledgehammer._scoring.parts import PartWriter
from sledgehammer._scoring.places import File, ScoringError, dataset_at, folder_at
from sledgehammer._scoring.readers import format_of, import_parquet
from sledgehammer._scoring.writers import ANSWER, ROW
from sledgehammer.engine import manifest
from sledgehammer.engine.answering import Job as Work
from sledgehammer.engine.engine import changed, policy_of
from sledgehammer.engine.lines import NONE_ANSWERED, OK, SOME_BAD_LINES
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.options import add_settings, settings_of
from sledgehammer.engine.running import exits_of
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.engine.schedule import BATCH_SIZE
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.usage import UsageError, UsageParser, print_usage_error

PROG = "sledgehammer score"

DESCRIPTION = """\
Score each row of DATASET: a file or a folder of Parquet, CSV (.csv, .tsv) or JSON lines (.jsonl,
.ndjson; text may be compressed: .gz, .bz2, .xz), here or at a URL. Files and folders whose name
begins with . or _ are left out.

OUT gets a part for each input file, with a row for each row: its number, "id" and the columns of
--keep, label, probs, confidence, exit_layer, layers_run, truncated, and error for a row that can't be
answered. A part appears when it is whole. The same command goes on where a killed one stopped.

Parquet needs pyarrow, URLs need fsspec, --ray needs Ray. With Ray, all machines must reach DATASET and
OUT under these names; the engine is sent to them."""

EXAMPLE = """\
example:
  sledgehammer score reviews/ --engine out/sst_int8 --output scores --text body --keep stars
  sledgehammer score s3://mine/reviews --engine out/sst_int8 --output s3://mine/scores --ray auto

exit codes:
  0  every row has its answer
  1  no row could be answered, or another error; finished parts stay
  2  wrong command line
  3  some rows could not be answered"""


def main(arguments: Sequence[str]) -> int:
    """Run `sledgehammer score ARGUMENTS`, and return the exit code."""
    try:
        parsed = _parser().parse_args(list(arguments))
        settings = settings_of(parsed)
        if taken := sorted({*parsed.keep} & {ROW, *ANSWER}):
            raise UsageError(f"cannot keep {taken[0]!r}: parts have a column of that name already")
    except UsageError as error:
        return print_usage_error(PROG, error)
    try:
        return _score(parsed, settings)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"{PROG}: error: {message}", file=sys.stderr)
    except (EngineError, ScoringError) as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
    return 1


def _parser() -> UsageParser:
    parser = UsageParser(PROG, DESCRIPTION, EXAMPLE)
    parser.add_argument("dataset", metavar="DATASET", help="a file, a folder, or a URL of one")
    parser.add_argument("--engine", required=True, metavar="DIR", help="an exported model")
    parser.add_argument("--output", required=True, metavar="OUT", help="a folder, or a URL of one")
    parser.add_argument(
        "--text", metavar="COLUMN", help="the text (default: as the model names it)"
    )
    parser.add_argument("--second-text", metavar="COLUMN", help="the second one, of pairs")
    parser.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN",
        help='copy a column, as "id" always is (repeatable)',
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("parquet", "csv", "jsonl"), help="of the parts (default: as DATASET)"
    )
    add_settings(parser, "for all rows")
    parser.add_argument(
        "--workers", type=positive_int, metavar="N",
        help="processes, or actors on the cluster (default: one for each usable core)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=positive_int, default=1, metavar="N", help="of each (default: 1)"
    )
    parser.add_argument("--batch-size", type=positive_int, default=BATCH_SIZE, metavar="N")
    parser.add_argument(
        "--pool", action=argparse.BooleanOptionalAction,
        help="let texts that go on after an exit wait for others (default: whatever is faster)",
    )  # fmt: skip
    parser.add_argument(
        "--ray", metavar="ADDRESS",
        help="score on a Ray cluster: its address, auto to find it, or local to start one here",
    )  # fmt: skip
    parser.add_argument("--silent", action="store_true", help="do not report each finished part")
    parser.add_argument("--verbose", action="store_true", help="also show what libraries print")
    return parser


def _score(parsed: argparse.Namespace, settings: Dict[str, Any]) -> int:
    engine = manifest.read(Path(parsed.engine))
    changed(policy_of(engine, exits_of(engine)), settings)  # or raise, before anything is written
    inputs, files = dataset_at(parsed.dataset)
    output = folder_at(parsed.output)
    chosen = _scorable(files)
    job = _job(parsed, settings, engine, chosen)
    if job.format == "parquet":
        import_parquet(parsed.output)
    finished = begin(job, output)
    left = [part for part in job.parts if part.name not in finished]
    report = Report(len(job.parts), list(finished.values()), parsed.silent)
    work = Work(
        parsed.engine, settings, threads=parsed.threads, batch_size=parsed.batch_size,
        pool=parsed.pool,
    )  # fmt: skip
    if left and parsed.ray:
        from sledgehammer._scoring.cluster import score_on_ray

        score_on_ray(parsed.ray, work, job, inputs.location, output.location, left,
                     parsed.workers, report.finished)  # fmt: skip
    elif left:
        with PartWriter(
            job, inputs, output, engine.fields, engine.labels, report.finished
        ) as writer:
            score_here(work, parsed.workers or usable_cores(), left, writer)
    return report.end(engine.full_layers)


def _scorable(files: Sequence[File]) -> List[File]:
    """Return the files to score; those of other kinds are named on standard error.

    # Raises

    `ScoringError` if there are none.
    """
    visible = [f for f in files if not any(p[0] in "._" for p in PurePosixPath(f.name).parts)]
    chosen = [file for file in visible if format_of(file.name)]
    others = [file.name for file in visible if not format_of(file.name)]
    if not chosen:
        raise ScoringError(
            "the dataset has no file whose name ends in .parquet, .csv, .tsv, .jsonl or .ndjson"
        )
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        print(f"warning: left out, as they are no tables: {shown}", file=sys.stderr)
    return chosen


def _job(
    parsed: argparse.Namespace,
    settings: Dict[str, Any],
    engine: manifest.Manifest,
    files: Sequence[File],
) -> Job:
    if parsed.second_text and len(engine.fields) == 1:
        raise ScoringError("--second-text is for models of pairs; this model takes one text")
    texts = [parsed.text or engine.fields[0]]
    texts += [parsed.second_text or name for name in engine.fields[1:]]
    format = parsed.format or _format_of_all(files)
    parts = parts_of(files, format)
    return Job(fingerprint(engine), settings, texts, parsed.keep, format, parts)


def _format_of_all(files: Sequence[File]) -> str:
    formats = sorted({str(format_of(file.name)) for file in files})
    if len(formats) > 1:
        raise ScoringError(f"the dataset has files of {' and '.join(formats)}: give --format")
    return formats[0]


class Report:
    """Say how a job goes on, and how it ended.

    # Parameters

    parts : `int`
        Of the whole job.
    earlier : `List[Tally]`
        The tallies of parts that were finished before.
    silent : `bool`
        Whether to say nothing of each part.
    """

    def __init__(self, parts: int, earlier: List[Tally], silent: bool) -> None:
        self._parts = parts
        self._silent = silent
        self._finished = len(earlier)
        self._total = Tally()
        for tally in earlier:
            self._total.add(tally)
        if earlier and not silent:
            print(f"{len(earlier)} of {parts} parts were finished before", file=sys.stderr)

    def finished(self, part: Part, tally: Tally) -> None:
        """Note that a part is whole."""
        self._finished += 1
        self._total.add(tally)
        if not self._silent:
            errors = f", {tally.errors} with an error" if tally.errors else ""
            print(
                f"{self._finished} of {self._parts}: {part.name}, {tally.rows} rows{errors}",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def end(self, full_layers: int) -> int:
        """Print what became of all rows, and return the exit code."""
        total = self._total
        parts = "1 part" if self._parts == 1 else f"{self._parts} parts"
        print(f"{total.rows} rows in {parts}: {_outcome(total, full_layers)}")
        if not total.errors:
            return OK
        return NONE_ANSWERED if total.errors == total.rows else SOME_BAD_LINES


def _outcome(total: Tally, full_layers: int) -> str:
    answered = total.rows - total.errors
    said = [f"{answered} answered"]
    layers = _mean_layers(total)
    if layers is not None:
        said[0] += f" after {layers:.2f} of {full_layers} layers on average"
    if total.truncated:
        said.append(f"{total.truncated} of them truncated")
    if total.errors:
        said.append(f"{total.errors} with an error")
    return ", ".join(said)


def _mean_layers(total: Tally) -> Optional[float]:
    rows = sum(total.exits.values())
    if not rows:
        return None
    return sum((int(layer) + 1) * count for layer, count in total.exits.items()) / rows
