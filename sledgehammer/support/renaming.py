"""Rename files and folders in one step, so that no other process sees a half-done rename."""

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Any, Optional

_NOREPLACE, _EXCHANGE = 1, 2
"""Flags of Linux's `renameat2`."""

_AT_FDCWD = -100
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
"""Errors of kernels and file systems that don't know a flag."""


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or folder to a name that is not taken.

    # Raises

    `FileExistsError` if the name is taken.
    """
    if _renameat2(source, target, _NOREPLACE):
        return
    if source.is_dir():
        # `rename` would silently replace an empty folder of that name; `mkdir` fails if there is
        # one. Then `rename` replaces the empty folder that we made.
        os.mkdir(target)
        os.rename(source, target)
    else:
        os.link(source, target)
        os.unlink(source)


def exchange(first: Path, second: Path) -> bool:
    """Swap the names of two files or folders in one step; return `False` if the system can't."""
    return _renameat2(first, second, _EXCHANGE)


def _renameat2(source: Path, target: Path, flag: int) -> bool:
    """Call `renameat2`; return `False` if this system does not have it, or not the flag."""
    renameat2 = _library_function()
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


def _library_function() -> Optional[Any]:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a C library older than 2018
        return None
