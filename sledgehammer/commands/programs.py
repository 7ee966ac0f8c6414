"""Do for programs what our commands do: with texts that are in memory, and without printing."""

import io
import json
import shutil
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import run_all_exits, tradeoff_of
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.commands.base import ArchiveCommand, run_command
from sledgehammer.commands.calibrate import Calibrate
from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.fit_plan import FitOptions, make_plan
from sledgehammer.commands.fit_run import ENGINE, check_output, run_fit
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.columns import label_name
from sledgehammer.model.archives import open_archive
from sledgehammer.support.owned import scratch_folder

DATA, MODEL = "data.jsonl", "model"
"""What `fit_texts` writes."""


def rows_of(texts: Iterable[Any], labels: Iterable[Any], fields: int = 0) -> List[Row]:
    """Return rows of texts and labels in memory.

    # Parameters

    fields : `int`, optional
        How many texts a row has; as many as the first if 0.

    # Raises

    `ConfigurationError` for a bad text or label, with its number, or unequal numbers of both.
    """
    if isinstance(texts, str) or isinstance(labels, str):
        raise ConfigurationError("texts and labels must be lists, not one text")
    all_texts, all_labels = list(texts), [_plain(label) for label in labels]
    if len(all_texts) != len(all_labels):
        raise ConfigurationError(f"{len(all_texts)} texts, but {len(all_labels)} labels")
    rows = []
    for number, (text, label) in enumerate(zip(all_texts, all_labels), start=1):
        parts = [text] if isinstance(text, str) else text
        if not isinstance(parts, (list, tuple)) or not all(isinstance(p, str) for p in parts):
            raise ConfigurationError(f"text {number} must be a string or a pair of them")
        fields = fields or len(parts)
        if len(parts) != fields or fields > 2:
            raise ConfigurationError(f"text {number} has {len(parts)} parts, not {min(fields, 2)}")
        try:
            name = label_name(label)
        except ValueError as error:
            raise ConfigurationError(f"label {number} {error}") from error
        if name is None:
            raise ConfigurationError(f"label {number} is empty")
        rows.append(Row(list(parts), name))
    if not rows:
        raise ConfigurationError("no texts")
    return rows


def _plain(value: Any) -> Any:
    """Return a number of numpy as one of Python."""
    return value.item() if hasattr(value, "item") else value


def curve(path: str, texts: Iterable[Any], labels: Iterable[Any]) -> List[Point]:
    """See `Classifier.curve`."""
    opened = open_archive(path)
    rows = rows_of(texts, labels, len(opened.reader.fields))
    tradeoff = tradeoff_of(opened, run_all_exits(opened.model, opened.reader, rows))
    return tradeoff.curve(tradeoff.grid())


def choose(
    path: str, rows: List[Row], fields: Sequence[str], output: Path, conditions: Dict[str, Any],
    fixed: Optional[Mapping[str, float]], force: bool,
) -> None:  # fmt: skip
    """See `Classifier.choose`; the conditions are options of `tradeoff`, by name."""
    wish = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in conditions.items()
        if value is not None
    ]
    if fixed is not None:
        policy = {"type": "confidence", "threshold": dict(fixed)}
        wish += ["--policy", json.dumps(policy)]
    more = ["--force"] * force
    with _as_file(rows, fields) as data:
        _run(TradeoffCommand(), path, data, "--json-lines", *wish, "--write", str(output), *more)


def calibrate(
    path: str, rows: List[Row], fields: Sequence[str], output: Path, few_rows: bool, force: bool
) -> None:
    """See `Classifier.calibrate`."""
    more = ["--few-rows"] * few_rows + ["--force"] * force
    with _as_file(rows, fields) as data:
        _run(Calibrate(), path, data, "--json-lines", "-o", str(output), *more)


def export(path: str, output: Path, precision: str, format: str, force: bool) -> None:
    """See `Classifier.export`."""
    more = ["--force"] * force
    _run(ExportCommand(), path, str(output), "--precision", precision, "--format", format, *more)


def fit_texts(
    texts: Iterable[Any], labels: Iterable[Any], output: Path, force: bool, options: Dict[str, Any]
) -> Path:
    """See `api.fit`; return where the exported model is."""
    rows = rows_of(texts, labels)
    if output.exists() and not (force and (output / DATA).is_file()):
        raise ConfigurationError(f"{str(output)!r} exists: give another name, or force")
    fields = ["text", "second_text"][: len(rows[0].texts)]
    new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    earlier = output / f".{DATA}.replaced"
    try:
        if not new:
            (output / DATA).replace(earlier)
        _write_rows(rows, fields, output / DATA)
        columns = {"second_text": fields[1]} if len(fields) > 1 else {}
        chosen = FitOptions(
            str(output / DATA), fields[:1], "label", output / MODEL, columns, **options
        )
        check_output(chosen.output, force)
        with redirect_stdout(io.StringIO()):
            run_fit(chosen, make_plan(chosen))
    except BaseException:
        if new:
            shutil.rmtree(output, ignore_errors=True)
        elif earlier.exists():
            earlier.replace(output / DATA)
        raise
    earlier.unlink(missing_ok=True)
    return chosen.output / ENGINE


def _write_rows(rows: List[Row], fields: Sequence[str], target: Path) -> None:
    lines = (json.dumps({**dict(zip(fields, row.texts)), "label": row.label}) for row in rows)
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@contextmanager
def _as_file(rows: List[Row], fields: Sequence[str]) -> Iterator[str]:
    """Write rows to a file of JSON lines, whose texts have a model's names."""
    with scratch_folder() as folder:
        _write_rows(rows, fields, folder / DATA)
        yield str(folder / DATA)


def _run(command: ArchiveCommand, *arguments: str) -> None:
    """Run one of our commands in this process, without its output."""
    with redirect_stdout(io.StringIO()):
        run_command(command, arguments)
