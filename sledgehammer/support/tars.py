"""Archives (tar files, compressed or not): read whole and checked, extracted, written.

All of an archive is read whatever is wanted of it, since a compressed file tells only at its end
whether it is whole. Those that `CheckedTar` wrote list the SHA-256 of every file in `CHECKSUMS`,
and all have to agree. That shows damage, not who wrote an archive: whoever can change a file can
change its checksum too.
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
"""Bytes that the list of checksums may have."""


class ArchiveError(ValueError):
    """An archive is damaged, or holds what no archive should."""


class Readable(Protocol):
    def read(self, size: int = -1) -> bytes: ...


class Member(NamedTuple):
    """A file or folder of an archive."""

    name: str
    """Relative to the archive, without `..`."""

    info: tarfile.TarInfo

    content: Optional[Readable]
    """Of a file; to be read before the next member is asked for."""


def members(path: Path) -> Iterator[Member]:
    """Yield the files and folders of an archive, and check it as it is read.

    # Raises

    `ArchiveError` if it is damaged, or has a member that lies outside of it or is neither file
    nor folder; the damage may show after the last member only. `OSError` if it can't be opened.
    """
    digests: Dict[str, str] = {}
    stored: Optional[bytes] = None
    with _told_as_damage(), tarfile.open(path, "r:*") as archive:
        for info in archive:
            name = _checked_name(info)
            if info.isdir():
                yield Member(name, info, None)
                continue
            file = archive.extractfile(info)
            assert file is not None, "it is a file"
            content = _Content(file)
            if name == CHECKSUMS:
                stored = content.read(_LARGEST_LIST)
                continue
            yield Member(name, info, content)
            digests[name] = content.finish()
        _check_end(archive)
        if stored is not None:
            _check_digests(digests, stored)


def extract(path: Path, folder: Path) -> None:
    """Write the files and folders of an archive into an empty folder, and nothing outside of it.

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
        raise ArchiveError(f"it has a file and a folder of one name: {error}") from error


def check(path: Path) -> None:
    """Raise what `members` does, for an archive that others will extract."""
    for _ in members(path):
        pass


def read_files(path: Path, wanted: Callable[[str], bool]) -> Dict[str, bytes]:
    """Return the content of the files whose names are wanted, by name."""
    return {
        member.name: member.content.read()
        for member in members(path)
        if member.content is not None and wanted(member.name)
    }


def rewrite(
    source: Path,
    target: Path,
    changes: Dict[str, Callable[[bytes], bytes]],
    added: Dict[str, bytes],
) -> None:
    """Write a copy of an archive, with checksums.

    # Parameters

    changes : `Dict[str, Callable[[bytes], bytes]]`
        By the name of a file, what makes its new content of the old.
    added : `Dict[str, bytes]`
        More files; they replace those of the same names.
    """
    with CheckedTar.open(target, "w:gz") as new:
        for name, info, content in members(source):
            if name in added:
                continue
            if content is not None and (name in changes or info.islnk()):
                data = content.read()
                data = changes[name](data) if name in changes else data
                info.type, info.size, content = tarfile.REGTYPE, len(data), io.BytesIO(data)
            info.name = name
            new.addfile(info, content)
        for name, data in added.items():
            new.add_bytes(name, data)


class CheckedTar(tarfile.TarFile):
    """A tar file to write, which gets a list of its files' checksums when it is closed."""

    dereference = True  # links would lead nowhere where the archive is read
    closed: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._digests: Dict[str, str] = {}
        super().__init__(*args, **kwargs)

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Any = None) -> None:
        if fileobj is None:
            super().addfile(tarinfo)
            return
        content = _Content(fileobj)
        super().addfile(tarinfo, content)
        self._digests[str(PurePosixPath(tarinfo.name))] = content.digest.hexdigest()

    def add_bytes(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), int(time.time())
        self.addfile(info, io.BytesIO(data))

    def close(self) -> None:
        if not self.closed and self.mode == "w":
            listed = {"format": _FORMAT, "sha256": dict(self._digests)}
            self.add_bytes(CHECKSUMS, json.dumps(listed, indent=1).encode())
        super().close()


class _Content:
    """A file that is hashed as it is read; what a damaged archive raises is an `ArchiveError`."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        with _told_as_damage():
            block = self._file.read(size)
        self.digest.update(block)
        return block

    def finish(self) -> str:
        """Read what is left and return the SHA-256 of all."""
        while self.read(_BLOCK):
            pass
        return self.digest.hexdigest()


@contextmanager
def _told_as_damage() -> Iterator[None]:
    """Turn all that a damaged archive makes Python's modules raise into an `ArchiveError`."""
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
        if error.errno is not None:  # of the system, not of a decompressor
            raise
        raise ArchiveError(str(error)) from error


def _checked_name(info: tarfile.TarInfo) -> str:
    name = PurePosixPath(info.name)
    if name.is_absolute() or ".." in name.parts or "\0" in info.name or "\\" in info.name:
        raise ArchiveError(f"its member {info.name!r} would lie outside of it")
    if not (info.isdir() or info.islnk() or (info.isfile() and not info.issparse())):
        raise ArchiveError(f"its member {info.name!r} is neither file nor folder")
    return str(name)


def _check_end(archive: tarfile.TarFile) -> None:
    """Read what comes after the last member, and with it the compressed file's own checksum."""
    file = archive.fileobj
    assert file is not None, "it is open"
    if file.tell() < archive.offset:  # the content of a hard link lies before it
        file.seek(archive.offset)
    while block := file.read(_BLOCK):
        if block.strip(b"\0"):
            raise ArchiveError("a member has no header")


def _check_digests(found: Dict[str, str], stored: bytes) -> None:
    try:
        listed = json.loads(stored)
        expected = listed["sha256"]
        known = listed["format"] == _FORMAT and isinstance(expected, dict)
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise ArchiveError(f"its {CHECKSUMS} can't be read") from error
    if not known:
        raise ArchiveError(f"its {CHECKSUMS} is of a format that this version can't read")
    wrong: List[str] = [
        name for name in {**expected, **found} if expected.get(name) != found.get(name)
    ]
    if wrong:
        raise ArchiveError(f"{min(wrong)} is not what was written")
