"""Put a card together, and tell whether somebody has edited it since."""

import hashlib
import re
from pathlib import Path
from typing import Optional

from sledgehammer.cards.facts import Facts
from sledgehammer.cards.metadata import CardError, Declared, front_matter
from sledgehammer.cards.sections import body, versions_line
from sledgehammer.engine.manifest import CARD
from sledgehammer.support.files import replacing

_SEAL = re.compile(r"<!-- sledgehammer card, unedited: ([0-9a-f]{64}) -->\n\Z")
"""The last line of a card that nobody has edited: the SHA-256 of all before it."""

_LARGEST = 1 << 22


def card_text(facts: Facts, declared: Declared) -> str:
    """Return a whole card.

    # Raises

    `CardError` if the library for its front matter is missing.
    """
    parts = [front_matter(facts, declared), body(facts, declared), *versions_line(facts), ""]
    text = "\n".join(parts) + "\n"
    return f"{text}<!-- sledgehammer card, unedited: {_digest(text)} -->\n"


def is_edited(text: str) -> bool:
    """Return whether a card is not as `card_text` made it."""
    seal = _SEAL.search(text)
    return seal is None or seal[1] != _digest(text[: seal.start()])


def renewed(
    old: Optional[str], facts: Facts, declared: Optional[Declared] = None, force: bool = False
) -> Optional[str]:
    """Return the new text of a card, or `None` if somebody has edited the old one.

    # Parameters

    old : `str`, optional
        The card that there is. What its front matter declares is kept, unless `declared` says
        otherwise.
    declared : `Declared`, optional
    force : `bool`, optional (default = `False`)
        Replace an edited card too.

    # Raises

    `CardError` if the card can't be written.
    """
    known = Declared()
    if old is not None:
        if is_edited(old) and not force:
            return None
        try:
            known = Declared.of_card(old)
        except CardError:
            if not force:
                raise
    return card_text(facts, known.updated(declared or Declared()))


def renew(
    directory: Path, facts: Facts, declared: Optional[Declared] = None, force: bool = False
) -> bool:
    """Write the card of a folder, unless somebody has edited it; return whether it was written.

    # Raises

    `CardError` as `renewed` does; `OSError` if the file can't be read or written.
    """
    text = renewed(read_card(directory), facts, declared, force)
    if text is None:
        return False
    with replacing(directory / CARD) as partial:
        partial.write_text(text, encoding="utf-8")
    return True


def read_card(directory: Path) -> Optional[str]:
    """Return the card of a folder, if there is one.

    # Raises

    `CardError` if it is no text.
    """
    file = directory / CARD
    try:
        if file.stat().st_size > _LARGEST:
            raise CardError(f"{file} is larger than {_LARGEST} bytes")
        return file.read_bytes().decode()  # as it is: with the ends of lines that it has
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise CardError(f"{file} is not UTF-8 text: {error}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
