"""A validation part held out of a training file, for datasets that come without one.

A data path may end in `#train` or `#validation`. Which rows are held out depends on their texts
alone, so it is the same on every machine, and rows with the same text are on the same side.
"""

import hashlib
from typing import Dict, List, Sequence, Set, Tuple

from allennlp.common.checks import ConfigurationError

PARTS = ("train", "validation")


def split_path(path: str) -> Tuple[str, str]:
    """`PATH#train` or `PATH#validation` -> (`PATH`, part); the part is empty without one."""
    for part in PARTS:
        if path.endswith(f"#{part}"):
            return path[: -len(part) - 1], part
    return path, ""


def held_out(texts: Sequence[str], size: int) -> Set[int]:
    """The positions of `size` rows to hold out.

    Texts are ordered by their SHA-256; those that fit are taken, all rows of a text or none.

    # Raises

    `ConfigurationError` if `size` is not between 1 and the number of rows less one, or the
    repeated texts leave no choice of exactly `size` rows.
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
    chosen: Set[int] = set()
    for _, positions in sorted(groups.items()):
        if len(chosen) + len(positions) <= size:
            chosen.update(positions)
        if len(chosen) == size:
            return chosen
    raise ConfigurationError(
        f"validation_size {size} can't be met: rows with the same text stay together, "
        f"{len(chosen)} rows is the nearest"
    )
