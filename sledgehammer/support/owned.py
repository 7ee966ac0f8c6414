"""Make temporary files and folders that a later run removes if their owner was killed.

The owner holds a lock (`flock`) on each. The kernel drops the lock when the process ends, however
it ends, so whoever gets the lock knows that the owner is gone. Unlike a process number, a lock
can't be mistaken for another process's, even across containers and network file systems. On a
system without such locks nothing is removed.
"""

import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".part"
SCRATCH = "sledgehammer-"
"""How the names of the folders of `scratch_folder` begin."""


@contextmanager
def owned_file(directory: Path, prefix: str) -> Iterator[Path]:
    """Make an empty file, and remove it at the end of the block if it is still there.

    Files of the same prefix whose owner is gone are removed first.
    """

    def make() -> Path:
        handle, name = tempfile.mkstemp(SUFFIX, prefix, directory)
        os.close(handle)
        return Path(name)

    remove_abandoned(directory, prefix)
    path, lock = _made_and_locked(make, os.O_RDWR)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        _release(lock)


@contextmanager
def owned_folder(directory: Path, prefix: str) -> Iterator[Path]:
    """Make an empty folder, and at the end of the block remove whatever then has its name.

    Folders of the same prefix whose owner is gone are removed first.
    """
    remove_abandoned(directory, prefix)
    path, lock = _made_and_locked(
        lambda: Path(tempfile.mkdtemp(SUFFIX, prefix, directory)), os.O_RDONLY
    )
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        _release(lock)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder in the system's temporary folder, and remove it at the end of the block."""
    with owned_folder(Path(tempfile.gettempdir()), SCRATCH) as folder:
        yield folder


def remove_abandoned(directory: Path, prefix: str) -> bool:
    """Remove the files and folders of a prefix whose owner is gone; never fail.

    # Returns

    Whether any were removed.
    """
    if fcntl is None:
        return False
    name_pattern = re.compile(re.escape(prefix) + r"[a-z0-9_]{8}" + re.escape(SUFFIX))
    removed = False
    with suppress(OSError):
        for entry in os.scandir(directory):
            if name_pattern.fullmatch(entry.name):
                with suppress(OSError):
                    removed |= _remove_if_abandoned(Path(entry.path))
    return removed


def _remove_if_abandoned(path: Path) -> bool:
    is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    access = os.O_RDONLY if is_folder else os.O_RDWR  # network file systems lock no read-only file
    descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        # Temporary folders are shared: leave alone what belongs to other users.
        if status.st_uid != os.geteuid():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(descriptor, path):
            return False
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        elif stat.S_ISREG(status.st_mode):
            path.unlink()
        return not path.exists()
    finally:
        os.close(descriptor)


def _made_and_locked(make: Callable[[], Path], flags: int) -> Tuple[Path, Optional[int]]:
    """Make a file or folder and lock it; start over if a cleanup removed it before the lock."""
    while True:
        path = make()
        if fcntl is None:
            return path, None
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            continue
        # Some network file systems have no locks; then nobody else gets one either.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, path):
            return path, descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _release(lock: Optional[int]) -> None:
    if lock is not None:
        os.close(lock)
