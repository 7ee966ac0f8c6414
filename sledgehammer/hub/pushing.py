"""Send a model to the Hugging Face hub: no pickles, and nothing that a model does not have."""

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from sledgehammer.cards.file import is_edited
from sledgehammer.engine.manifest import CARD, MANIFEST, is_engine, read
from sledgehammer.engine.publishable import ARCHIVE_MANIFEST, problem_in, refused
from sledgehammer.support.hub import HubError, HubName, fetch, files_of, send
from sledgehammer.support.missing_allennlp import require_allennlp
from sledgehammer.support.owned import scratch_folder

OF_THE_HUB = (".gitattributes", CARD)
"""Files that a new repository may have."""


def push(model: Path, name: HubName, private: bool = False, force: bool = False) -> str:
    """Send an archive or an exported model to the hub, in one commit.

    # Parameters

    model : `Path`
    name : `HubName`
        The repository is made if it is not there. Files of an earlier model are removed from it.
    private : `bool`, optional (default = `False`)
        Whether a new repository is only for its owner.
    force : `bool`, optional (default = `False`)
        Replace a card that was edited on the hub.

    # Returns

    The address of the repository.

    # Raises

    `ValueError` if the model is damaged, or holds a file that is refused; if the repository holds
    something else; or if the hub refuses it. Then nothing is sent.
    """
    with _published(model) as (folder, files, kind):
        _check(folder, files, kind, model)
        present = files_of(name) or []
        is_ours = bool({MANIFEST, ARCHIVE_MANIFEST} & set(present))
        others = sorted(set(present) - set(OF_THE_HUB))
        if others and not is_ours:
            raise HubError(
                f"{name} holds something else ({others[0]}): give another name, or remove that"
            )
        if CARD in present and not force and _is_edited_there(name, folder):
            files = [file for file in files if file != CARD]
            print(f"the {CARD} of {name} was edited there, so it stays (--force replaces it)")
        stale = sorted(set(present) - {*files, *OF_THE_HUB})
        return send(name, folder, files, stale, "Upload a sledgehammer model", private)


@contextmanager
def _published(model: Path) -> Iterator[Tuple[Path, List[str], str]]:
    """Yield a folder, its files that make the model, and whether that is an engine or an archive."""
    if is_engine(model):
        read(model)
        files = (path for path in sorted(model.rglob("*")) if path.is_file())
        yield model, [path.relative_to(model).as_posix() for path in files], "engine"
        return
    require_allennlp()
    from allennlp.common.checks import ConfigurationError

    from sledgehammer.model.hub_archive import unpack_for_hub

    with scratch_folder() as scratch:
        try:
            unpacked = unpack_for_hub(str(model), scratch)
        except ConfigurationError as error:
            raise HubError(error.message) from error
        yield scratch / "content", unpacked, "archive"


def _check(folder: Path, files: List[str], kind: str, model: Path) -> None:
    if bad := refused(files, kind):
        raise HubError(
            f"{model} holds {bad[0]}, which is no part of a model: remove it to push the rest"
        )
    for file in files:
        if problem := problem_in(folder / file):
            raise HubError(f"{folder / file if kind == 'engine' else file}: {problem}")


def _is_edited_there(name: HubName, folder: Path) -> bool:
    """Return whether the hub's card is neither one of ours nor the one to send."""
    there = fetch(name, CARD).read_bytes()
    here: Optional[bytes] = (folder / CARD).read_bytes() if (folder / CARD).is_file() else None
    return there != here and is_edited(there.decode(errors="replace"))
