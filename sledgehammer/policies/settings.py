"""The run-time settings of a policy: what they may be, and what is wrong with those that are not."""

import math
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np
from numpy import ndarray

Values = Union[float, ndarray]
"""A number for all rows, or one a row: (rows,), float32."""

Settings = Mapping[str, Values]
"""Values by the names of a policy's settings; infinity where a setting that may be `None` is.

What a policy is asked about takes them as `comparable` makes them.
"""

Decision = Union[bool, ndarray]
"""Whether to stop, for all rows, or one answer a row: (rows,), bool."""

_BEYOND = 10**9
"""What is larger is no different, but for being too large a number for an array."""


@dataclass(frozen=True)
class Setting:
    """One run-time setting of a policy.

    # Parameters

    default : `Optional[float]`
    full : `float`, optional (default = `1.0`)
        The value at which nothing stops early. Only what a policy `sweeps` needs it, and
        `fastest`.
    fastest : `float`, optional (default = `0.0`)
        A value at which every row stops at the first exit that the policy can take.
    low, high : `float`, optional (default = `0.0`, `1.0`)
        The range, both ends included.
    whole : `bool`, optional (default = `False`)
        Whether it is a whole number.
    optional : `bool`, optional (default = `False`)
        Whether it may be `None`, which stands for no limit.
    """

    default: Optional[float]
    full: float = 1.0
    fastest: float = 0.0
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    optional: bool = False

    def checked(self, value: Any, name: str) -> Optional[float]:
        """`value`, which may be a numpy scalar, as a float or an int, if the setting may have it.

        # Raises

        `ValueError` otherwise.
        """
        value = _plain(value)
        if problem := self.problem(value, name):
            raise ValueError(problem)
        if value is None:
            return None
        value = min(value, _BEYOND)
        return int(value) if self.whole else float(value)

    def problem(self, value: Any, name: str) -> Optional[str]:
        """What is wrong with a value, if anything is."""
        value = _plain(value)
        if value is None and self.optional:
            return None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if (
            is_number
            and self.low <= value <= self.high
            and value != math.inf
            and not (self.whole and value != int(value))
        ):
            return None
        return f"{name} must be {self._range()}, got {repr(value)[:80]}"

    def _range(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if math.isfinite(self.high):
            return f"{kind} between {self.low:g} and {self.high:g}"
        return f"{kind} of at least {self.low:g}"


def _plain(value: Any) -> Any:
    """A numpy scalar, or an array without dimensions, as Python's own number."""
    return value.item() if isinstance(value, (np.generic, ndarray)) and not value.shape else value


def select(settings: Settings, rows: Union[ndarray, Sequence[int]]) -> Settings:
    """Those of the given rows (indices)."""
    return {n: v[rows] if isinstance(v, ndarray) else v for n, v in settings.items()}


def single(value: Values) -> float:
    """The nearest number of single precision, which is that of the probabilities.

    Python compares in double precision, arrays of float32 in single: with this number the two
    come to the same, and a row is decided alone as it is in a batch.
    """
    return np.float32(value).item()


def comparable(settings: Settings) -> Settings:
    """Settings in single precision; those of a lone row as numbers, which takes less time."""
    return {
        n: v if isinstance(v, ndarray) and len(v) != 1 else single(v) for n, v in settings.items()
    }


def number(value: Optional[float]) -> float:
    """`None`, which is no limit, as infinity."""
    return math.inf if value is None else value
