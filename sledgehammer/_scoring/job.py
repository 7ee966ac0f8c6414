"""Keep what a job is and how far it has come in the folder that it writes to.

_job.json        what decides the answers: the engine, the settings, the columns, the input files
_done/NAME.json  the tally of a part that is whole; it appears after the part
part-*           a part for each input file, whole or not there
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Dict, List, Mapping, Optional, Sequence

from sledgehammer._scoring.places import File, Folder, ScoringError
from sledgehammer.engine.manifest import LEXICAL, TOKENIZER, Manifest

JOB = "_job.json"
DONE = "_done"
FORMAT = 1
"""Goes up when older code could not go on with a newer job."""

_LONGEST_STEM = 80

_ENDINGS = re.compile(r"(\.(parquet|csv|tsv|jsonl|ndjson|gz|bz2|xz))+$")


@dataclass(frozen=True)
class Part:
    """Name an input file, and the file with the answers to it."""

    source: str
    bytes: int
    version: str
    name: str


@dataclass(frozen=True)
class Job:
    """Say what is scored and how. Another machine can be sent it.

    # Parameters

    engine : `str`
        The fingerprint of the engine; see `fingerprint`.
    settings : `Dict[str, float]`
        The policy's settings.
    texts : `List[str]`
        The columns with the texts.
    keep : `List[str]`
        Columns that the parts take over, besides `id`.
    format : `str`
        That of the parts: `parquet`, `csv` or `jsonl`.
    parts : `List[Part]`
    """

    engine: str
    settings: Dict[str, float]
    texts: List[str]
    keep: List[str]
    format: str
    parts: List[Part]


@dataclass
class Tally:
    """Count the rows of a part, or of a job."""

    rows: int = 0
    errors: int = 0
    truncated: int = 0
    exits: Dict[str, int] = field(default_factory=dict)
    """Answered rows by the layer of their exit."""

    def saw(self, row: Mapping[str, Any]) -> None:
        """Count a row of a part."""
        self.rows += 1
        if row["error"] is not None:
            self.errors += 1
            return
        self.truncated += bool(row["truncated"])
        layer = str(row["exit_layer"])
        self.exits[layer] = self.exits.get(layer, 0) + 1

    def add(self, other: "Tally") -> None:
        """Add another one."""
        self.rows += other.rows
        self.errors += other.errors
        self.truncated += other.truncated
        for layer, rows in other.exits.items():
            self.exits[layer] = self.exits.get(layer, 0) + rows


def fingerprint(manifest: Manifest) -> str:
    """Return a hash of what decides an engine's answers: graphs, tokenizer, policy and labels."""
    used = {*manifest.segments, TOKENIZER, LEXICAL}
    entries = dataclasses.asdict(manifest)
    for name in ("source", "versions", "timings", "exit_shares"):
        del entries[name]
    entries["files"] = {name: file for name, file in manifest.files.items() if name in used}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def parts_of(files: Sequence[File], format: str) -> List[Part]:
    """Return a part for each input file; the order of their names is that of the files."""
    suffix = {"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet"}[format]
    parts = []
    for number, file in enumerate(files):
        stem = _ENDINGS.sub("", PurePosixPath(file.name).name)
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:_LONGEST_STEM]
        name = f"part-{number:05d}-{stem}{suffix}"
        parts.append(Part(file.name, file.bytes, file.version, name))
    return parts


def begin(job: Job, output: Folder) -> Dict[str, Tally]:
    """Write down what the job is, or go on with it, and return the tallies of finished parts.

    # Raises

    `ScoringError` if the folder has another job, or files of something else.
    """
    there = output.names()
    if JOB not in there:
        if strangers := sorted(name for name in there if not name.startswith(".")):
            raise ScoringError(
                f"{output.location} has {strangers[0]!r} in it and is no earlier output of score: "
                "give another --output"
            )
        with output.writing(JOB) as path:
            content = {"format_of_job": FORMAT, **dataclasses.asdict(job)}
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return {}
    _check_same(job, output)
    records = output.names(DONE)
    return {
        part.name: read_tally(output, part)
        for part in job.parts
        if f"{part.name}.json" in records and part.name in there
    }


def _check_same(job: Job, output: Folder) -> None:
    location = f"{output.location.rstrip('/')}/{JOB}"
    content = _loaded(output, JOB)
    if content.pop("format_of_job", None) != FORMAT:
        raise ScoringError(
            f"{location} is of another version of sledgehammer: give another --output"
        )
    new = dataclasses.asdict(job)
    for name, what in (
        ("engine", "for another engine"), ("settings", "with other settings of the policy"),
        ("texts", "for other text columns"), ("keep", "that keeps other columns"),
        ("format", "with another format"),
    ):  # fmt: skip
        if content.get(name) != new[name]:
            shown = "" if name == "engine" else f" ({content.get(name)}, not {new[name]})"
            raise ScoringError(f"{output.location} has a job {what}{shown}: give another --output")
    if change := _change(content.get("parts", []), new["parts"]):
        raise ScoringError(
            f"{output.location} has a job with other input files ({change}): give another --output"
        )


def _change(old: List[Dict[str, Any]], new: List[Dict[str, Any]]) -> Optional[str]:
    """Return how the input files differ from those at the job's begin, or `None`."""
    before = {part["source"]: part for part in old}
    after = {part["source"]: part for part in new}
    for source in sorted({*before, *after}):
        if source not in after:
            return f"{source} is gone"
        if source not in before:
            return f"{source} is new"
        if before[source] != after[source]:
            return f"{source} has changed"
    return None


def write_tally(output: Folder, part: Part, tally: Tally) -> None:
    """Note that a part is whole."""
    with output.writing(f"{DONE}/{part.name}.json") as path:
        path.write_text(json.dumps(dataclasses.asdict(tally)) + "\n", encoding="utf-8")


def read_tally(output: Folder, part: Part) -> Tally:
    """Return the tally of a part that is whole."""
    return Tally(**_loaded(output, f"{DONE}/{part.name}.json"))


def finished_tally(output: Folder, part: Part) -> Optional[Tally]:
    """Return the tally of a part if it is whole, else `None`."""
    with contextlib.suppress(FileNotFoundError):
        output.open(part.name).close()
        return read_tally(output, part)
    return None


def _loaded(output: Folder, name: str) -> Dict[str, Any]:
    with output.open(name) as file:
        try:
            content = json.load(file)
            if not isinstance(content, dict):
                raise ValueError
        except ValueError:
            raise ScoringError(f"{output.location.rstrip('/')}/{name} is damaged") from None
    return content
