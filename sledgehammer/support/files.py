"""Writing files whole or not at all; loads AllenNLP only to complain."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to, which becomes `target` at the end of the block.

    When the block fails or is interrupted, nothing is left behind and `target` is as before.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` to fill, which becomes `target` at the end of the block.

    A folder of that name is replaced as a whole. When the block fails or is interrupted, nothing
    is left behind and `target` is as before.
    """
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    old = partial.with_suffix(".old")
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(partial, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def no_folder_for(target: Path) -> Optional[str]:
    """What to say if there is no folder to write `target` into."""
    if target.absolute().parent.is_dir():
        return None
    return f"cannot write {str(target)!r}: no folder {target.parent}"


def not_a_file(target: Path) -> Optional[str]:
    """What to say if there is no folder for `target`, or it is one itself."""
    if target.is_dir():
        return f"cannot write {str(target)!r}: it is a folder"
    return no_folder_for(target)


def check_folder(target: Path) -> None:
    """Raise a `ConfigurationError` if there is no folder for `target`, or it is one itself."""
    from allennlp.common.checks import ConfigurationError

    if problem := not_a_file(target):
        raise ConfigurationError(problem)


def check_writable(target: Path, suffixes: Sequence[str]) -> None:
    """Raise a `ConfigurationError` if a file can't be written, or ends in none of the suffixes."""
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
