"""Write files whole or not at all; AllenNLP is imported only to raise its `ConfigurationError`."""

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Optional, Sequence

from sledgehammer.support.owned import owned_file, owned_folder
from sledgehammer.support.renaming import exchange, rename_new

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Failures of writing, which Python reports without the name of the file."""

_PREFIX_LENGTH = 40
"""How much of the target's name goes into that of the partial file, which must not get too long."""


@contextmanager
def replacing(target: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a path beside `target` to write to, which becomes `target` at the end of the block.

    If the block fails or is interrupted, nothing is left behind and `target` is as before. If the
    process is killed, the next one that writes the same file cleans up. A symbolic link is
    followed, and a file that is replaced passes on its permissions and, if possible, its owner.
    A `target` that is not a regular file (a device, a FIFO, `/dev/stdout`) is yielded itself.

    # Parameters

    overwrite : `bool`, optional (default = `True`)
        Whether to replace a file that is there at the end of the block.

    # Raises

    `OSError`, with the name of `target`, if it can't be written; `FileExistsError` if it is there
    and must not be replaced.
    """
    with _errors_of(target):
        old = _status(target)
        in_place = _is_written_in_place(target, old)
        if not in_place and old is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    if in_place:
        with _errors_of(target):
            yield target
        return
    place = Path(os.path.realpath(target))
    with _errors_of(target), owned_file(place.parent, _prefix(place)) as partial:
        yield partial
        _pass_on_permissions(partial, old, 0o666)
        _flush(partial)
        if overwrite:
            os.replace(partial, place)
        else:
            _rename_new(partial, place, target)


@contextmanager
def replacing_folder(target: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `target`, which becomes `target` at the end of the block.

    A folder of that name is replaced as a whole. If the block fails or is interrupted, nothing is
    left behind and `target` is as before. At any moment either the old or the new folder is there
    (only if the system can't exchange two folders, there is neither for an instant).

    # Parameters

    overwrite : `bool`, optional (default = `True`)
        Whether to replace a folder that is there at the end of the block.

    # Raises

    `OSError`, with the name of `target`, if it can't be written; `FileExistsError` if it is there
    and must not be replaced. If several processes write it at the same time, one succeeds.
    """
    place = Path(os.path.realpath(target))
    with _errors_of(target), owned_folder(place.parent, _prefix(place)) as partial:
        yield partial
        _pass_on_permissions(partial, _status(place), 0o777)
        if overwrite:
            _put_in_place(partial, place)
        else:
            _rename_new(partial, place, target)


def _put_in_place(partial: Path, place: Path) -> None:
    while True:
        try:
            rename_new(partial, place)
            return
        except FileExistsError:
            pass
        try:
            if exchange(partial, place):  # from now on, `partial` is the old folder
                return
        except FileNotFoundError:  # somebody has just removed the old folder
            continue
        with owned_folder(place.parent, _prefix(place)) as old:
            os.replace(place, old)
            try:
                os.replace(partial, place)
            except OSError:
                os.replace(old, place)
                raise
        return


def _rename_new(partial: Path, place: Path, target: Path) -> None:
    try:
        rename_new(partial, place)
    except FileExistsError as error:
        raise FileExistsError(
            errno.EEXIST,
            "another process has just written it: give another name, or --force",
            str(target),
        ) from error


@contextmanager
def _errors_of(target: Path) -> Iterator[None]:
    """Let failures of writing name the target, instead of the partial file or no file at all."""
    try:
        yield
    except OSError as error:
        partial = str(error.filename or "")
        if partial.endswith(".part") or (not partial and error.errno in NO_ROOM):
            error.filename, error.filename2 = str(target), None
        raise


def _status(target: Path) -> Optional[os.stat_result]:
    try:
        return os.stat(target)
    except FileNotFoundError:
        return None


def _is_written_in_place(target: Path, old: Optional[os.stat_result]) -> bool:
    """Return whether `target` is a device, a FIFO or an open descriptor such as `/dev/stdout`."""
    folder = os.path.realpath(target.parent)
    if old is None or stat.S_ISDIR(old.st_mode):
        return False
    is_descriptor = folder == "/dev" or folder.startswith(("/proc/", "/dev/fd"))
    return is_descriptor or not stat.S_ISREG(old.st_mode)


def _pass_on_permissions(partial: Path, old: Optional[os.stat_result], mode: int) -> None:
    """Give a new file the permissions and the owner of the old one, or `mode` less the umask."""
    if old is None:
        partial.chmod(mode & ~_umask())
        return
    if hasattr(os, "chown") and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):  # only root may give files away
            os.chown(partial, old.st_uid, old.st_gid)
    partial.chmod(stat.S_IMODE(old.st_mode))


def _flush(partial: Path) -> None:
    """Bring the content to the disk before its name: some failures show only here."""
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())


def _prefix(place: Path) -> str:
    return f".{place.name[:_PREFIX_LENGTH]}."


def no_folder_for(target: Path) -> Optional[str]:
    """Return an error message if there is no folder to write `target` into, else `None`."""
    if target.absolute().parent.is_dir():
        return None
    return f"cannot write {str(target)!r}: no folder {target.parent}"


def not_a_file(target: Path) -> Optional[str]:
    """Return an error message if `target` is a folder, or there is none to write it into."""
    if target.is_dir():
        return f"cannot write {str(target)!r}: it is a folder"
    return no_folder_for(target)


def check_folder(target: Path) -> None:
    """Raise a `ConfigurationError` if `target` is a folder, or there is none to write it into."""
    from allennlp.common.checks import ConfigurationError

    if problem := not_a_file(target):
        raise ConfigurationError(problem)


def check_writable(target: Path, suffixes: Sequence[str]) -> None:
    """Raise a `ConfigurationError` if a file can't be written, or has none of the suffixes."""
    from allennlp.common.checks import ConfigurationError

    if target.suffix not in suffixes:
        raise ConfigurationError(
            f"cannot write {str(target)!r}: the name must end in one of {', '.join(suffixes)}"
        )
    check_folder(target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
