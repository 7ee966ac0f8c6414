"""List, read and write files in a local folder or, with fsspec, at a URL."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Protocol, Set, Tuple

from sledgehammer.support.files import replacing
from sledgehammer.support.owned import scratch_folder


class ScoringError(ValueError):
    """Tell that a dataset can't be scored, and why, in one line."""


@dataclass(frozen=True)
class File:
    """Describe a file of a folder.

    # Parameters

    name : `str`
        Its path within the folder, with slashes.
    bytes : `int`
    version : `str`
        Changes when the file is written anew.
    """

    name: str
    bytes: int
    version: str


class Folder(Protocol):
    """List, read and write the files of a folder; their names are paths within it."""

    location: str

    def files(self) -> List[File]:
        """Return all files, also those of folders within it, in the order of their names."""

    def names(self, folder: str = "") -> Set[str]:
        """Return the names of what is right within the folder, or one within it; none if absent."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""

    def writing(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a local path to write to; its content becomes the file at the end of the block."""


class LocalFolder:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._path = Path(location)

    def files(self) -> List[File]:
        found = []
        for folder, _, names in os.walk(self._path):
            for name in names:
                path = Path(folder, name)
                found.append(self.file(path.relative_to(self._path).as_posix()))
        return sorted(found, key=lambda file: file.name)

    def file(self, name: str) -> File:
        status = (self._path / name).stat()
        return File(name, status.st_size, str(status.st_mtime_ns))

    def names(self, folder: str = "") -> Set[str]:
        try:
            return set(os.listdir(self._path / folder))
        except FileNotFoundError:
            return set()

    def open(self, name: str) -> BinaryIO:
        return (self._path / name).open("rb")

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            yield partial


class RemoteFolder:
    """A folder at a URL. Files are written here first and then uploaded.

    An upload that is cut short may leave part of a file on systems other than object stores.

    # Raises

    `ScoringError` if fsspec, or what it needs for such URLs, is not installed.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        with self._errors():
            self._system, self._root = _file_system(location)

    def files(self) -> List[File]:
        with self._errors():
            found = self._system.find(self._root, detail=True)
        return sorted((self._file(info) for info in found.values()), key=lambda file: file.name)

    def file(self, name: str) -> File:
        with self._errors():
            return self._file(self._system.info(self._at(name)))

    def _file(self, info: Dict[str, Any]) -> File:
        name = info["name"][len(self._root) :].lstrip("/")
        return File(name, info["size"], self._system.ukey(info["name"]))

    def names(self, folder: str = "") -> Set[str]:
        with self._errors():
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._at(folder).rstrip("/"), detail=False)
            except FileNotFoundError:
                return set()
        return {PurePosixPath(path).name for path in found}

    def open(self, name: str) -> BinaryIO:
        with self._errors():
            opened: BinaryIO = self._system.open(self._at(name), "rb")
            return opened

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with scratch_folder() as folder:
            path = folder / PurePosixPath(name).name
            yield path
            with self._errors():
                target = self._at(name)
                self._system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                self._system.put_file(str(path), target)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn whatever the libraries behind fsspec raise into one line that names the URL."""
        try:
            yield
        except (OSError, ScoringError):
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ScoringError(f"{self.location}: {what}") from error


def _file_system(location: str) -> Tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise ScoringError(f"{location}: URLs need fsspec: pip install fsspec") from None
    try:
        system, root = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ScoringError(f"{location}: {error}") from None
    return system, root.rstrip("/")


def is_url(location: str) -> bool:
    """Return whether a location is a URL, rather than a local path."""
    return "://" in location


def folder_at(location: str) -> Any:
    """Return the folder at a local path or a URL, whether it exists or not."""
    location = location.removeprefix("file://")
    return RemoteFolder(location) if is_url(location) else LocalFolder(location)


def dataset_at(location: str) -> Tuple[Folder, List[File]]:
    """Return a dataset's folder and its files: all within a folder, or the one that is named.

    # Raises

    `ScoringError` if there is none.
    """
    location = location.removeprefix("file://")
    one = _one_file(location)
    if one is not None:
        return one
    folder = folder_at(location)
    files = folder.files()
    if not files:
        raise ScoringError(f"{location}: there is no such file, and no folder with files in it")
    return folder, files


def _one_file(location: str) -> Optional[Tuple[Folder, List[File]]]:
    """Return the folder of a single file, and the file, or `None` for a folder."""
    parent, _, name = location.rpartition("/")
    folder: Any
    if is_url(location):
        folder = RemoteFolder(parent)
        system, path = _file_system(location)
        if not system.isfile(path):
            return None
    else:
        if not Path(location).is_file():
            return None
        folder = LocalFolder(str(Path(location).parent))
        name = Path(location).name
    return folder, [folder.file(name)]
