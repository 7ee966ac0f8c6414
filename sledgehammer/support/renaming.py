"""Renaming without a moment in which another process could see, or take, half of it."""

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
"""What kernels and file systems without a flag say."""


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or folder to a name that nothing has yet.

    # Raises

    `FileExistsError` if there is something of that name.
    """
    if _renameat2(source, target, _NOREPLACE):
        return
    if source.is_dir():
        # Unlike `rename`, `mkdir` fails where an empty folder is; a folder replaces that one.
        os.mkdir(target)
        os.rename(source, target)
    else:
        os.link(source, target)
        os.unlink(source)


def exchange(first: Path, second: Path) -> bool:
    """Let two files or folders change names in one step; `False` where the system can't."""
    return _renameat2(first, second, _EXCHANGE)


def _renameat2(source: Path, target: Path, flag: int) -> bool:
    function = _function()
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


def _function() -> Optional[Any]:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a C library older than 2018
        return None
