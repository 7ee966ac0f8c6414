"""Opening what a data path names, with errors that say where."""

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
    """A place in a data file, for error messages."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}" if self.line else self.path


def bad_row(location: Location, problem: str) -> ConfigurationError:
    """The error for a malformed row: names file, line and what is wrong."""
    return ConfigurationError(f"{location}: {problem}")


def local_path(path: str) -> Path:
    """A file or folder on this machine for a path, URL or `archive!member`.

    # Raises

    `ConfigurationError` if there is no such thing; it says what was looked for.
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
    """Raise a `ValueError` for a tar file with members that should not be extracted.

    `cached_path` has checks of its own, which let `../pathtest...` through.
    """
    if path.is_file() and tarfile.is_tarfile(path):
        tars.check(path)


def missing(path: str, error: object = None) -> ConfigurationError:
    """The error for a path with nothing behind it, in one line."""
    looked_for = path if "://" in path else os.path.abspath(path)
    detail = f" ({' '.join(str(error).split())})" if error else ""
    return ConfigurationError(f"no data at {path!r}: looked for {looked_for}{detail}")


def decode(raw: bytes, location: Location) -> str:
    """Return bytes as text, without a byte order mark if they are the first of a file."""
    try:
        return raw.decode("utf-8-sig" if location.line <= 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise bad_row(location, f"not UTF-8 text: {error}") from error


def read_lines(path: str) -> Iterator[Tuple[Location, str]]:
    """Each line of a UTF-8 file without its end, and where it stands."""
    file = local_path(path)
    if not file.is_file():
        raise ConfigurationError(f"{path!r} is a folder; a file is needed")
    with open(file, "rb") as lines:
        for number, raw in enumerate(lines, start=1):
            location = Location(path, number)
            yield location, decode(raw, location).rstrip("\r\n")


def read_json_lines(path: str) -> Iterator[Tuple[Location, Dict[str, Any]]]:
    """Each JSON object of a file with one a line; blank lines are passed over."""
    for location, line in read_lines(path):
        if not line.strip():
            continue
        row, problem = parse_line(line)
        if problem:
            raise bad_row(location, problem)
        yield location, row


def read_text_tree(path: str, folders: Tuple[str, ...]) -> List[Tuple[str, str]]:
    """All `FOLDER/NAME.txt` files right below `path`: their names (`FOLDER/NAME`) and texts.

    `path` is a folder, or `archive!folder` with a tar archive, whose members are read one after
    the other without unpacking it. The order is that of the archive or of the file system.
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
    found = {name.split("/")[0] for name, _ in texts}
    for folder in folders:
        if folder not in found:
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
        # On to the end, where a compressed file has its checksum.
        while members.fileobj is not None and members.fileobj.read(1 << 20):
            pass
