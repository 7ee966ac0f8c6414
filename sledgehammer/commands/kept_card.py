"""Write the model card of an exported model, for commands that have just written it."""

from pathlib import Path
from typing import Optional

from sledgehammer.cards.facts import name_of
from sledgehammer.cards.file import read_card, renew
from sledgehammer.cards.metadata import CardError
from sledgehammer.cards.of_engine import facts_of_engine
from sledgehammer.commands.seen_rows import warn
from sledgehammer.engine.manifest import CARD, EngineError, read


def keep_card(directory: Path, target: Path, place: Optional[Path] = None) -> None:
    """Write the card of an exported model; warn if that can't be done.

    # Parameters

    directory : `Path`
        Where the model is, whole.
    target : `Path`
        Where it will be, or is: that names it. What the card of a model that is replaced there
        declares is kept.
    place : `Path`, optional
        The folder that gets the card, if that is another one.
    """
    place = place or directory
    try:
        facts = facts_of_engine(directory, read(directory), name_of(target))
        old = read_card(target) if place == directory and directory != target else None
        if old is not None:
            (place / CARD).write_bytes(old.encode())
        renew(place, facts, force=True)
    except (CardError, EngineError) as error:
        warn([f"no model card could be written: {error}"])
