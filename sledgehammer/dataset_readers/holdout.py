"""Hold validation rows out of a training file, for datasets that come without a validation file.

A data path may end in `#train` or `#validation`. Which rows are held out depends on their texts
alone: it is the same on every machine, and rows with the same text land on the same side.
"""

import hashlib
from typing import Dict, List, Sequence, Set, Tuple

from allennlp.common.checks import ConfigurationError

PARTS = ("train", "validation")


def split_path(path: str) -> Tuple[str, str]:
    """Split `PATH#train` or `PATH#validation` into `PATH` and part; any other path has part ""."""
    for part in PARTS:
        if path.endswith(f"#{part}"):
            return path[: -len(part) - 1], part
    return path, ""


def held_out_positions(texts: Sequence[str], size: int) -> Set[int]:
    """Return the positions of `size` rows to hold out.

    Texts are taken in the order of their SHA-256, each with all rows that have it, if these fit.

    # Raises

    `ConfigurationError` if `size` is not between 1 and the number of rows less one, or if exactly
    `size` rows can't be taken because texts repeat.
    """
    if not 1 <= size < len(texts):
        raise ConfigurationError(
            f"validation_size must be between 1 and {len(texts) - 1} for a file of "
            f"{len(texts)} rows, got {size}"
        )
    groups: Dict[bytes, List[int]] = {}
    for position, text in enumerate(texts):
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        groups.setdefault(digest, []).append(position)
    held_out: Set[int] = set()
    for _, positions in sorted(groups.items()):
        if len(held_out) + len(positions) <= size:
            held_out.update(positions)
        if len(held_out) == size:
            return held_out
    raise ConfigurationError(
        f"validation_size {size} can't be met because rows with the same text stay together: "
        f"{len(held_out)} rows is the nearest"
    )
