"""Hold the run-time settings of a policy: their ranges, and the checked values that rows run by."""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, TypeGuard, Union

import numpy as np
from numpy import ndarray

Values = Union[float, ndarray]
"""A number for all rows, or one a row: (rows,), float32. Where labels have thresholds of their own,
one a row and label: (rows, labels), or (1, labels) for all rows."""

OTHERS = "*"
"""Stands for all labels that a map of thresholds does not name."""

Decision = Union[bool, ndarray]
"""Whether to stop: one answer for all rows, or one a row: (rows,), bool."""

_BEYOND = 10**9
"""Larger numbers, which might not fit into an array, are cut to this one; it acts the same."""


@dataclass(frozen=True)
class SettingRange:
    """Describe a run-time setting of a policy: its default, and the values that it may have.

    # Parameters

    default : `Optional[float]`
    full : `float`, optional (default = `1.0`)
        The value at which nothing stops early. Only the setting that a policy `sweeps` needs this
        and `fastest`.
    fastest : `float`, optional (default = `0.0`)
        A value at which every row stops at the first exit that the policy can take.
    low, high : `float`, optional (default = `0.0`, `1.0`)
        The range, both ends included.
    whole : `bool`, optional (default = `False`)
        Whether it is a whole number.
    optional : `bool`, optional (default = `False`)
        Whether it may be `None`, which stands for no limit.
    per_label : `bool`, optional (default = `False`)
        Whether it may be a map from labels to values, such as `{"spam": 0.99, "*": 0.9}`.
    """

    default: Optional[float]
    full: float = 1.0
    fastest: float = 0.0
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    optional: bool = False
    per_label: bool = False

    def checked(self, value: Any, name: str) -> Any:
        """Return `value`, which may be a numpy scalar, as a float or an int; a map as a map of them.

        # Raises

        `ValueError` if the setting can't have it.
        """
        value = _plain(value)
        if problem := self.problem(value, name):
            raise ValueError(problem)
        if isinstance(value, Mapping):
            return {label: float(_plain(one)) for label, one in value.items()}
        if value is None:
            return None
        value = min(value, _BEYOND)
        return int(value) if self.whole else float(value)

    def problem(self, value: Any, name: str) -> Optional[str]:
        """Return what is wrong with a value, if anything is."""
        value = _plain(value)
        if value is None and self.optional:
            return None
        if self.per_label and isinstance(value, Mapping):
            return self._problem_in_map(value, name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if (
            is_number
            and self.low <= value <= self.high
            and value != math.inf
            and not (self.whole and value != int(value))
        ):
            return None
        return f"{name} must be {self._range()}, got {repr(value)[:80]}"

    def _problem_in_map(self, value: Mapping[Any, Any], name: str) -> Optional[str]:
        if not value or not all(isinstance(label, str) for label in value):
            return f"{name} must be {self._range()}, or map labels to such, got {repr(value)[:80]}"
        problems = (self.problem(one, f"{name} of {label!r:.80}") for label, one in value.items())
        nested = any(isinstance(one, Mapping) for one in value.values())
        return (
            f"{name} must map labels to numbers" if nested else next(filter(None, problems), None)
        )

    def nearest(self, value: float) -> float:
        """Return a number as one that the setting may have: within its range, and whole if need be."""
        bounded = min(max(value, self.low), self.high)
        return float(round(bounded)) if self.whole else bounded

    def _range(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if math.isfinite(self.high):
            return f"{kind} between {self.low:g} and {self.high:g}"
        return f"{kind} of at least {self.low:g}"


class RowSettings(Mapping[str, Values]):
    """Hold the values of all settings of a policy, for the rows that run together.

    `ExitPolicy.settings_for` checks what users send and makes these settings of it; nothing checks
    or converts them again. They cannot be changed.

    A value that all rows share is a float, and so is the value of a lone row, as numbers compare
    faster than arrays; otherwise it is an array, (rows,), float32; values by label are as `Values`
    says. All values have single precision, like the probabilities: Python compares floats in double precision and arrays of
    float32 in single, so only then is a row decided alone as it is in a batch.

    # Parameters

    values : `Mapping[str, Any]`, optional
        By name: one number for all rows, `None` for no limit, or one number a row.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._values: Dict[str, Values] = {name: _held(value) for name, value in values.items()}

    def __getitem__(self, name: str) -> Values:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"RowSettings({self._values!r})"

    def of(self, rows: Union[ndarray, Sequence[int]]) -> "RowSettings":
        """Return the settings of some of the rows (indices)."""
        if not any(isinstance(value, ndarray) for value in self._values.values()):
            return self
        return RowSettings(
            {
                n: v[rows] if isinstance(v, ndarray) and not _for_all_rows(v) else v
                for n, v in self._values.items()
            }
        )

    def with_value(self, name: str, value: Any) -> "RowSettings":
        """Return a copy in which one setting has another value, which is not checked."""
        return RowSettings({**self._values, name: value})

    @staticmethod
    def join(parts: Sequence["RowSettings"], rows: Optional[Sequence[int]] = None) -> "RowSettings":
        """Return the settings of several groups of rows, in order.

        # Parameters

        parts : `Sequence[RowSettings]`
            At least one; all of the same policy.
        rows : `Sequence[int]`, optional
            How many rows each part is for; one each if `None`.
        """
        first = parts[0]
        if len(parts) == 1:
            return first
        counts = [1] * len(parts) if rows is None else rows
        return RowSettings(
            {name: _joined([part[name] for part in parts], counts) for name in first}
        )


def by_label(value: Any) -> TypeGuard[ndarray]:
    """Return whether checked values are one for each label: (rows, labels) or (1, labels)."""
    return isinstance(value, ndarray) and value.ndim == 2


def check_labels(thresholds: Mapping[str, float], labels: Sequence[str], name: str) -> None:
    """Raise a `ValueError` that names the model's labels if a map has another."""
    unknown = [label for label in thresholds if label != OTHERS and label not in labels]
    if unknown:
        known = ", ".join(map(repr, labels[:20])) + (", ..." if len(labels) > 20 else "")
        raise ValueError(
            f"{name} has a value for the label {unknown[0]!r:.80}, which the model does not know; "
            f"its labels are {known} ({OTHERS!r} stands for those not named)"
        )


def of_labels(
    thresholds: Mapping[str, float], labels: Sequence[str], others: Optional[Values]
) -> ndarray:
    """Return the values that a map gives to a model's labels: (1, labels), float32.

    # Parameters

    thresholds : `Mapping[str, float]`
        By label; `OTHERS` for those not named.
    labels : `Sequence[str]`
        All labels of the model, in its order.
    others : `Values`, optional
        For labels not named, if there is no `OTHERS`: a number, or one a label.
    """
    values = np.empty((1, len(labels)), np.float32)
    values[:] = thresholds.get(OTHERS, np.inf if others is None else others)
    for label, value in thresholds.items():
        if label != OTHERS:
            values[0, list(labels).index(label)] = value
    return values


def of_rows(values: Sequence[Any]) -> Any:
    """Return one value a row, of which some may be (1, labels), as `RowSettings` takes them."""
    mapped = [value for value in values if by_label(value)]
    if not mapped:
        return values
    width = mapped[0].shape[1]
    rows = [v[0] if by_label(v) else np.full(width, v, np.float32) for v in values]
    return np.stack(rows)


def single(value: Optional[float]) -> float:
    """Return the nearest number of single precision; infinity for `None`, which is no limit."""
    return math.inf if value is None else np.float32(value).item()


def _held(value: Any) -> Values:
    if not isinstance(value, (ndarray, list, tuple)):
        return single(value)
    if by_label(value):
        held = np.array(value, np.float32)
        held.setflags(write=False)
        return held
    numbers = [math.inf if one is None else one for one in value]
    held = np.array(numbers, np.float32)
    if len(held) == 1:
        return held.item()
    held.setflags(write=False)
    return held


def _joined(values: Sequence[Values], counts: Sequence[int]) -> Values:
    shared = values[0]
    if all(isinstance(value, float) and value == shared for value in values):
        return shared
    if _for_all_rows(shared) and all(value is shared for value in values):
        return shared
    if width := next((value.shape[1] for value in values if by_label(value)), 0):
        return np.concatenate(
            [
                np.broadcast_to(
                    value[:, None] if isinstance(value, ndarray) and value.ndim == 1 else value,
                    (count, width),
                )
                for value, count in zip(values, counts)
            ]
        )
    return np.concatenate(
        [
            value if isinstance(value, ndarray) else np.full(count, value, np.float32)
            for value, count in zip(values, counts)
        ]
    )


def _for_all_rows(value: Any) -> bool:
    return by_label(value) and len(value) == 1


def _plain(value: Any) -> Any:
    """Return a numpy scalar, or an array without dimensions, as Python's own number."""
    return value.item() if isinstance(value, (np.generic, ndarray)) and not value.shape else value
