"""Find archives, and read single files out of them."""

import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from allennlp.common.checks import ConfigurationError

from sledgehammer.support import tars
from sledgehammer.support.downloads import cached

WEIGHTS_NAME = "weights.th"


def archive_file(path: str) -> Path:
    """Return the local file of an archive, downloaded if need be.

    # Parameters

    path : `str`
        A file, a URL, or a folder that holds a `model.tar.gz`.

    # Raises

    `ConfigurationError` if there is no archive.
    """
    file = local_path(path)
    if file.is_dir():
        file = file / "model.tar.gz"
        if not file.is_file():
            raise ConfigurationError(f"no archive at {path!r}: the folder has no model.tar.gz")
    return file


def local_path(path: str) -> Path:
    """Return the local file or folder of a path or URL, downloaded if need be.

    # Raises

    `ConfigurationError` if there is neither.
    """
    try:
        place = cached(path)
        if not (place.is_dir() or place.is_file()):
            raise ValueError("neither a file nor a folder")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"no archive at {path!r}: {error}") from error
    return place


def read_member(path: str, name: str) -> bytes:
    """Return the content of a file in an archive.

    # Raises

    `ConfigurationError` if the archive has no such file.
    """
    with reporting_damage(path):
        contents = tars.read_files(archive_file(path), lambda member: member == name)
    if name not in contents:
        raise ConfigurationError(f"{path!r} has no {name}")
    return contents[name]


def copy_folder(path: str, name: str, directory: Path) -> None:
    """Copy a folder out of an archive, to a folder of the same name in `directory`."""
    (directory / name).mkdir()
    with reporting_damage(path):
        contents = tars.read_files(
            archive_file(path), lambda member: Path(member).parent == Path(name)
        )
    for member, content in contents.items():
        (directory / member).write_bytes(content)


def weights_sha256(path: str) -> str:
    """Return the SHA-256 of an archive's weights, in hexadecimal."""
    digest = None
    with reporting_damage(path):
        for member in tars.members(archive_file(path)):
            if member.name == WEIGHTS_NAME and member.content is not None:
                digest = hashlib.sha256()
                while block := member.content.read(1 << 20):
                    digest.update(block)
    if digest is None:
        raise ConfigurationError(f"{path!r} has no {WEIGHTS_NAME}")
    return digest.hexdigest()


@contextmanager
def reporting_damage(path: str) -> Iterator[None]:
    """Turn an `ArchiveError` into a `ConfigurationError` that names the archive."""
    try:
        yield
    except tars.ArchiveError as error:
        raise damaged(path, error) from error


def damaged(path: str, error: tars.ArchiveError) -> ConfigurationError:
    """Return the error that names a damaged archive."""
    return ConfigurationError(f"{path!r} is not an AllenNLP archive, or is damaged: {error}")
