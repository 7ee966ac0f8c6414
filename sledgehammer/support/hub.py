"""Fetch files from the Hugging Face hub, and send files there, with errors of one line.

`huggingface_hub` does it: addresses (`HF_ENDPOINT`), tokens (`HF_TOKEN`), the cache (`HF_HOME`) and
working without a network (`HF_HUB_OFFLINE`) are as for every other program that uses it.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Optional, Union

PREFIX = "hub:"

INSTALL = "pip install huggingface_hub"

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")


class HubError(ValueError):
    """Tell why something can't be had from the hub, or sent there."""


class NoSuchFile(HubError):
    """Tell that a repository has no such file."""


@dataclass(frozen=True)
class HubName:
    """Name a model on the hub.

    # Parameters

    repo : `str`
        `NAME` or `OWNER/NAME`.
    revision : `str`, optional
        A branch, a tag or a commit; the main branch by default.
    """

    repo: str
    revision: Optional[str] = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + (f"@{self.revision}" if self.revision else "")

    @staticmethod
    def parse(name: str) -> "HubName":
        """Return what `hub:OWNER/NAME@REVISION` names; the prefix may be missing.

        # Raises

        `HubError` if it names nothing.
        """
        repo, at, revision = name.removeprefix(PREFIX).partition("@")
        if not _REPO.fullmatch(repo) or ".." in repo or (at and not _is_revision(revision)):
            raise HubError(f"{name!r:.200} is no name on the hub: expected hub:OWNER/NAME@REVISION")
        return HubName(repo, revision or None)


def _is_revision(revision: str) -> bool:
    return bool(_REVISION.fullmatch(revision)) and ".." not in revision


def is_hub_name(path: Union[str, Path]) -> bool:
    """Return whether a path is a name on the hub."""
    return str(path).startswith(PREFIX)


def fetch(name: HubName, file: str) -> Path:
    """Return the place of a file in the hub's cache, downloaded if need be.

    It is `.../snapshots/COMMIT/FILE`, whatever the revision is called.

    # Raises

    `NoSuchFile` if the model has no such file; `HubError` if it can't be had.
    """
    hub = _library()
    with _reporting(name):
        return Path(hub.hf_hub_download(name.repo, file, revision=name.revision))


def files_of(name: HubName) -> Optional[List[str]]:
    """Return the files of a repository; `None` if there is no such repository.

    # Raises

    `HubError` if that can't be known.
    """
    hub = _library()
    with _reporting(name):
        try:
            return list(hub.HfApi().list_repo_files(name.repo, revision=name.revision))
        except hub.utils.RepositoryNotFoundError as error:
            if _status(error) != 404:
                raise
            return None


def send(
    name: HubName, folder: Path, files: Iterable[str], stale: Iterable[str], message: str,
    private: bool,
) -> str:  # fmt: skip
    """Commit files of a folder to a repository, which is made if it is not there.

    # Parameters

    files : `Iterable[str]`
        Paths within the folder, and within the repository.
    stale : `Iterable[str]`
        Files of the repository to remove.
    private : `bool`
        Whether a new repository is only for its owner.

    # Returns

    The address of the repository.

    # Raises

    `HubError` if the hub refuses it; then nothing of it is in the repository.
    """
    hub = _library()
    with _reporting(name):
        api = hub.HfApi()
        address = api.create_repo(name.repo, private=private, exist_ok=True)
        operations: List[Any] = [
            hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=str(folder / file))
            for file in files
        ]
        operations += [hub.CommitOperationDelete(path_in_repo=file) for file in stale]
        api.create_commit(
            name.repo, operations, commit_message=message, revision=name.revision
        )  # fmt: skip
        return str(address)


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError(f"names on the hub need huggingface_hub: {INSTALL}") from error
    return huggingface_hub


@contextmanager
def _reporting(name: HubName) -> Iterator[None]:
    """Turn what the library raises, which may be nearly anything, into a `HubError`."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        kind, message = _explained(name, error)
        raise kind(f"{name}: {message}") from error


def _explained(name: HubName, error: Exception) -> "tuple[type[HubError], str]":
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = _status(error)
    if "LocalEntryNotFoundError" in kinds or "OfflineModeIsEnabled" in kinds:
        return HubError, "the hub can't be reached, and the model is not in the cache"
    if "RevisionNotFoundError" in kinds:
        return HubError, f"it has no revision {name.revision or 'main'!r}"
    if "EntryNotFoundError" in kinds:
        return NoSuchFile, "it has no such file"
    if "GatedRepoError" in kinds or status == 403:
        return HubError, "access refused: ask its owner, and give a token that may (HF_TOKEN)"
    if "RepositoryNotFoundError" in kinds or status == 401:
        return HubError, (
            "not found, or private: check the name, or give a token that may read it (HF_TOKEN, or "
            "huggingface-cli login)"
        )
    if kinds & {"ConnectionError", "ConnectError", "Timeout", "TimeoutException"}:
        return HubError, "the hub can't be reached"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return HubError, f"{type(error).__name__}, {reason:.300}"


def _status(error: Exception) -> Optional[int]:
    return getattr(getattr(error, "response", None), "status_code", None)
