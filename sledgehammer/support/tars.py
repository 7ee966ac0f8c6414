"""Read, check, extract and write archives: tar files, compressed or not.

An archive is always read to its end, even for one file: only the end of a compressed file tells
whether it is whole. Archives that `CheckedTar` wrote list the SHA-256 of every file in
`CHECKSUMS`, and all of them must match. That detects damage, not forgery: whoever can change a
file can change its checksum too.
"""

import hashlib
import io
import json
import lzma
import tarfile
import time
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Protocol

CHECKSUMS = "checksums.json"
_FORMAT = 1
_BLOCK = 1 << 20
_LARGEST_LIST = 1 << 24
"""The most bytes that the list of checksums may have."""


class ArchiveError(ValueError):
    """Tell that an archive is damaged, or holds a member that no archive should have."""


class Readable(Protocol):
    """Give bytes, as a file does."""

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or all that are left."""


class Member(NamedTuple):
    """Hold a file or folder of an archive."""

    name: str
    """The path within the archive, without `..`."""

    info: tarfile.TarInfo

    content: Optional[Readable]
    """What is in a file, `None` for a folder. Read it before you ask for the next member."""


def members(path: Path) -> Iterator[Member]:
    """Yield the files and folders of an archive, and check it as it is read.

    # Raises

    `ArchiveError` if it is damaged, or has a member that lies outside of it or is neither a file
    nor a folder; some damage shows only after the last member. `OSError` if it can't be opened.
    """
    digests: Dict[str, str] = {}
    checksums: Optional[bytes] = None
    with _damage_as_archive_error(), tarfile.open(path, "r:*") as archive:
        for info in archive:
            name = _checked_name(info)
            if info.isdir():
                yield Member(name, info, None)
                continue
            file = archive.extractfile(info)
            assert file is not None, "it is a file"
            content = _Content(file)
            if name == CHECKSUMS:
                checksums = content.read(_LARGEST_LIST)
                continue
            yield Member(name, info, content)
            digests[name] = content.finish()
        _check_end(archive)
        if checksums is not None:
            _check_digests(digests, checksums)


def extract(path: Path, folder: Path) -> None:
    """Write the files and folders of an archive into an empty folder, nothing outside of it.

    # Raises

    `ArchiveError` as `members` does; `OSError` if a file can't be written.
    """
    try:
        for member in members(path):
            target = folder / member.name
            if member.content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as file:
                while block := member.content.read(_BLOCK):
                    file.write(block)
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise ArchiveError(f"it has a file and a folder of the same name: {error}") from error


def check(path: Path) -> None:
    """Read an archive that other code will extract, and raise what `members` raises."""
    for _ in members(path):
        pass


def read_files(path: Path, wanted: Callable[[str], bool]) -> Dict[str, bytes]:
    """Return the content of the wanted files, by name."""
    return {
        member.name: member.content.read()
        for member in members(path)
        if member.content is not None and wanted(member.name)
    }


def rewrite(
    source: Path,
    target: Path,
    changes: Dict[str, Callable[[bytes], Optional[bytes]]],
    added: Dict[str, bytes],
    last: Callable[[], Dict[str, bytes]] = dict,
) -> None:
    """Write a copy of an archive, with checksums.

    # Parameters

    changes : `Dict[str, Callable[[bytes], Optional[bytes]]]`
        By the name of a file: a function from its old content to the new one; without one, the file
        is left out.
    added : `Dict[str, bytes]`
        More files, by name; they replace files of the same name.
    last : `Callable[[], Dict[str, bytes]]`, optional
        Returns still more files, once all others are written.
    """
    with CheckedTar.open(target, "w:gz") as new:
        for name, info, content in members(source):
            if name in added:
                continue
            if content is not None and (name in changes or info.islnk()):
                data: Optional[bytes] = content.read()
                assert data is not None
                data = changes[name](data) if name in changes else data
                if data is None:
                    continue
                info.type, info.size, content = tarfile.REGTYPE, len(data), io.BytesIO(data)
            info.name = name
            new.addfile(info, content)
        for name, data in added.items():
            new.add_bytes(name, data)
        for name, data in last().items():
            new.add_bytes(name, data)


class CheckedTar(tarfile.TarFile):
    """Write a tar file, and at its end a list of the checksums of its files."""

    dereference = True  # where the archive is read, links would lead nowhere
    closed: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._digests: Dict[str, str] = {}
        super().__init__(*args, **kwargs)

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Any = None) -> None:
        """Write a member, and note its checksum if it is a file."""
        if fileobj is None:
            super().addfile(tarinfo)
            return
        content = _Content(fileobj)
        super().addfile(tarinfo, content)
        self._digests[str(PurePosixPath(tarinfo.name))] = content.digest.hexdigest()

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write a file with the given content."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), int(time.time())
        self.addfile(info, io.BytesIO(data))

    def close(self) -> None:
        """Write the list of checksums, and close the file."""
        if not self.closed and self.mode == "w":
            checksums = {"format": _FORMAT, "sha256": dict(self._digests)}
            self.add_bytes(CHECKSUMS, json.dumps(checksums, indent=1).encode())
        super().close()


class _Content:
    """Hash a file while it is read, and raise an `ArchiveError` where the archive is damaged."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        with _damage_as_archive_error():
            block = self._file.read(size)
        self.digest.update(block)
        return block

    def finish(self) -> str:
        """Read what is left, and return the SHA-256 of the whole file."""
        while self.read(_BLOCK):
            pass
        return self.digest.hexdigest()


@contextmanager
def _damage_as_archive_error() -> Iterator[None]:
    """Raise an `ArchiveError` for any error of Python's modules that a damaged archive causes."""
    try:
        yield
    except ArchiveError:
        raise
    except (
        tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, KeyError, ValueError,
        OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise ArchiveError(str(error)) from error
    except OSError as error:
        if error.errno is not None:  # it comes from the system, not from a decompressor
            raise
        raise ArchiveError(str(error)) from error


def _checked_name(info: tarfile.TarInfo) -> str:
    name = PurePosixPath(info.name)
    if name.is_absolute() or ".." in name.parts or "\0" in info.name or "\\" in info.name:
        raise ArchiveError(f"its member {info.name!r} would lie outside of it")
    if not (info.isdir() or info.islnk() or (info.isfile() and not info.issparse())):
        raise ArchiveError(f"its member {info.name!r} is neither a file nor a folder")
    return str(name)


def _check_end(archive: tarfile.TarFile) -> None:
    """Read what comes after the last member; this also checks a compressed file's own checksum."""
    file = archive.fileobj
    assert file is not None, "it is open"
    if file.tell() < archive.offset:  # the content of a hard link lies before it
        file.seek(archive.offset)
    while block := file.read(_BLOCK):
        if block.strip(b"\0"):
            raise ArchiveError("a member has no header")


def _check_digests(digests: Dict[str, str], checksums: bytes) -> None:
    try:
        content = json.loads(checksums)
        expected = content["sha256"]
        is_known_format = content["format"] == _FORMAT and isinstance(expected, dict)
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise ArchiveError(f"its {CHECKSUMS} can't be read") from error
    if not is_known_format:
        raise ArchiveError(f"its {CHECKSUMS} has a format that this version can't read")
    changed: List[str] = [
        name for name in {**expected, **digests} if expected.get(name) != digests.get(name)
    ]
    if changed:
        raise ArchiveError(f"{min(changed)} has changed since it was written")
