"""Open what a data path names, with errors that say in which file and on which line."""

import os
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from allennlp.common.checks import ConfigurationError

from sledgehammer.support import tars
from sledgehammer.support.downloads import cached
from sledgehammer.support.jsonl import parse_line


class Location(NamedTuple):
    """Name a place in a data file, for error messages.

    # Parameters

    path : `str`
    line : `int`, optional
        Counted from 1; 0 for the whole file.
    unit : `str`, optional (default = `"line"`)
        What is counted: rows where a file has no lines.
    """

    path: str
    line: int = 0
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.line}" if self.line else self.path


def bad_row(location: Location, problem: str) -> ConfigurationError:
    """Return the error for a malformed row: it names the file, the line and the problem."""
    return ConfigurationError(f"{location}: {problem}")


def local_path(path: str) -> Path:
    """Return the file or folder on this machine that a path, URL or `archive!member` names.

    # Raises

    `ConfigurationError` if there is none; it says what was looked for.
    """
    try:
        if "!" in path:
            _check_archive(cached(path.partition("!")[0]))
        return cached(path, extract_archive="!" in path)
    except (
        OSError,
        ValueError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        zipfile.BadZipFile,
    ) as error:
        raise missing(path, error) from error


def _check_archive(path: Path) -> None:
    """Raise a `ValueError` for a tar file with members that must not be extracted.

    `cached_path` has checks of its own, but they let `../pathtest...` through.
    """
    if path.is_file() and tarfile.is_tarfile(path):
        tars.check(path)


def missing(path: str, error: object = None) -> ConfigurationError:
    """Return the one-line error for a path at which there is nothing."""
    looked_for = path if "://" in path else os.path.abspath(path)
    detail = f" ({' '.join(str(error).split())})" if error else ""
    return ConfigurationError(f"no data at {path!r}: looked for {looked_for}{detail}")


def decode(raw: bytes, location: Location) -> str:
    """Return bytes as text; the first line of a file loses its byte order mark."""
    try:
        return raw.decode("utf-8-sig" if location.line <= 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise bad_row(location, f"not UTF-8 text: {error}") from error


def read_lines(path: str) -> Iterator[Tuple[Location, str]]:
    """Yield each line of a UTF-8 file, without its line break, and where it stands."""
    file = local_path(path)
    if not file.is_file():
        raise ConfigurationError(f"{path!r} is a folder; a file is needed")
    with open(file, "rb") as lines:
        for number, raw in enumerate(lines, start=1):
            location = Location(path, number)
            yield location, decode(raw, location).rstrip("\r\n")


def read_json_lines(path: str) -> Iterator[Tuple[Location, Dict[str, Any]]]:
    """Yield each JSON object of a file that has one on each line; blank lines are skipped."""
    for location, line in read_lines(path):
        if not line.strip():
            continue
        row, problem = parse_line(line)
        if problem:
            raise bad_row(location, problem)
        yield location, row


def read_text_tree(path: str, folders: Tuple[str, ...]) -> List[Tuple[str, str]]:
    """Return the names (`FOLDER/NAME`) and texts of all `FOLDER/NAME.txt` files right below `path`.

    `path` is a folder, or `archive!folder` for a folder in a tar archive, which is read from
    beginning to end without being unpacked. The order is that of the archive or the file system.
    """
    archive, bang, member = path.partition("!")
    source = local_path(archive)
    if bang and source.is_file() and tarfile.is_tarfile(source):
        try:
            texts = list(_tar_members(source, path, member.strip("/"), folders))
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise bad_row(Location(archive), f"damaged, or cut short: {error}") from error
    else:
        root = local_path(path)
        texts = [
            (f"{folder}/{file.stem}", decode(_content(file), Location(str(file))))
            for folder in folders
            for file in root.glob(f"{folder}/*.txt")
        ]
    folders_with_texts = {name.split("/")[0] for name, _ in texts}
    for folder in folders:
        if folder not in folders_with_texts:
            raise ConfigurationError(f"{path!r}: no {folder}/*.txt files there")
    return texts


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise bad_row(Location(str(file)), f"cannot be read: {error.strerror}") from error


def _tar_members(
    archive: Path, path: str, root: str, folders: Tuple[str, ...]
) -> Iterator[Tuple[str, str]]:
    wanted = tuple(f"{root}/{folder}/" if root else f"{folder}/" for folder in folders)
    with tarfile.open(archive, "r:*") as members:
        for member in members:
            name = member.name[2:] if member.name.startswith("./") else member.name
            if not member.isfile() or not name.startswith(wanted) or not name.endswith(".txt"):
                continue
            content = members.extractfile(member)
            assert content is not None, "a regular file has content"
            relative = name[len(root) :].lstrip("/")
            text = decode(content.read(), Location(f"{path.split('!')[0]}!{name}"))
            yield relative[: -len(".txt")], text
        # Read on to the end: that is where a compressed file has its checksum.
        while members.fileobj is not None and members.fileobj.read(1 << 20):
            pass
