"""Hold rows out of a training file, for datasets that come without files for validation and tests.

A data path may end in `#train`, `#validation`, `#calibration` or `#test`. Which rows are held out
depends on their texts alone, or on a column: it is the same on every machine, and rows with the
same text land on the same side.
"""

import hashlib
import math
from bisect import bisect_right
from datetime import date, datetime, timezone
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from allennlp.common.checks import ConfigurationError

PARTS = ("train", "validation", "calibration", "test")
"""What the rows of a part are for: weights; temperatures and choosing an epoch; choosing a
threshold; the figures that are reported."""


def split_path(path: str) -> Tuple[str, str]:
    """Split `PATH#PART`, for one of `PARTS`, into path and part; any other path has the part ""."""
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


def checked_shares(shares: Mapping[str, float]) -> Dict[str, float]:
    """Return the share of the rows of each part; `train`, if it is not named, has the rest.

    # Raises

    `ConfigurationError` for an unknown part, or shares that are not positive or exceed 1 together.
    """
    for part, share in shares.items():
        if part not in PARTS:
            raise ConfigurationError(f"shares: no part {part!r}: there are {', '.join(PARTS)}")
        number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if not number or not 0 < share <= 1:
            raise ConfigurationError(f"shares: {part} must be above 0 and at most 1, got {share!r}")
    total = sum(shares.values())
    # Shares written as decimals may add up to a little more than 1.
    if total > 1 + 1e-9 or ("train" not in shares and total >= 1):
        raise ConfigurationError(
            f"shares: {dict(shares)} add up to {total:g}; none is left to train"
        )
    return {"train": 1 - total, **shares}


def part_at(place: float, shares: Mapping[str, float]) -> Optional[str]:
    """Return the part of a row with this place in [0, 1), or `None` if it is in none.

    Held-out parts come first, the last of `PARTS` at 0, so that a smaller share of `train` is a
    subset of a larger one and leaves the other parts as they are.
    """
    end = 0.0
    for part in reversed(PARTS):
        end += shares.get(part, 0.0)
        # Shares written as decimals add up to a little more or less than they should.
        if place < end - 1e-9 or (part == "train" and end > 1 - 1e-9):
            return part
    return None


def hashed_place(key: str) -> float:
    """Return a place in [0, 1) that depends on the key alone."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def dated_places(dates: Sequence[Any]) -> List[float]:
    """Return a place in [0, 1) for each date: the share of the rows that are later.

    # Parameters

    dates : `Sequence[Any]`
        Numbers, or dates as `datetime` or in ISO 8601; texts may hold either.

    # Raises

    `ValueError`, with the position of the date, for one that is not, or not like the others.
    """
    moments = _moments(dates)
    ordered = sorted(moments)
    return [(len(ordered) - bisect_right(ordered, moment)) / len(ordered) for moment in moments]


def _moments(dates: Sequence[Any]) -> List[float]:
    """Return the dates as numbers: all are numbers, or all are dates."""
    furthest = 0
    for read in (_number, _timestamp):
        found: List[float] = []
        try:
            for one in dates:
                found.append(read(one))
            return found
        except (TypeError, ValueError, OverflowError):
            furthest = max(furthest, len(found))
    raise ValueError(furthest)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


def _timestamp(value: Any) -> float:
    if isinstance(value, str):
        # Python 3.10 does not read the Z of UTC.
        value = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    if not isinstance(value, date):
        raise TypeError("neither a date nor a text")
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    # Dates without a zone must not depend on where they are read.
    return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
