"""Write the card of an archive anew, within the archive."""

from pathlib import Path

from allennlp.common.checks import ConfigurationError
from allennlp.models.archival import CONFIG_NAME

from sledgehammer.cards.facts import name_of
from sledgehammer.cards.file import read_card, renew, renewed
from sledgehammer.cards.metadata import Declared
from sledgehammer.engine.manifest import CARD
from sledgehammer.model.archive_card import CARD_FILES, FITTED, facts_of_archive
from sledgehammer.model.archive_files import archive_file, reporting_damage
from sledgehammer.model.archives import open_archive
from sledgehammer.support import tars
from sledgehammer.support.files import replacing


def renew_in_archive(path: str, declared: Declared, force: bool) -> bool:
    """Write the card of an archive anew, unless somebody has edited it; return whether it was.

    If the path is a folder with an archive in it, the folder's card is written too.

    # Raises

    `ConfigurationError` if there is no archive, or its model is not one of sledgehammer's.
    """
    file = archive_file(path)
    with reporting_damage(path):
        members = tars.read_files(file, lambda name: name in (CONFIG_NAME, *CARD_FILES))
    model = open_archive(path).model
    state = {name: tensor for name, tensor in model.state_dict().items() if name in FITTED}
    try:
        facts = facts_of_archive(name_of(file), members, state, model.weights_fingerprint())
        old = members[CARD].decode() if CARD in members else None
    except ValueError as error:
        raise ConfigurationError(f"{path!r} is damaged: {error}") from error
    if facts is None:
        raise ConfigurationError(f"{path!r}: its model is not of the type sledgehammer")
    facts.labels = model.labels
    text = renewed(old, facts, declared, force)
    folder = Path(path)
    is_folder = folder.is_dir()
    kept = read_card(folder) if is_folder else None
    if text is None or (kept is not None and renewed(kept, facts, declared, force) is None):
        return False
    with reporting_damage(path), replacing(file) as new:
        tars.rewrite(file, new, {}, {CARD: text.encode()})
    return renew(folder, facts, declared, force) if is_folder else True
