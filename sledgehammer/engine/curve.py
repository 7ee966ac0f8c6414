"""Keep the speed/accuracy curve of a model beside it: what each setting gave on labelled rows."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from sledgehammer.policies import Conditions
from sledgehammer.support.files import replacing

CURVE = "curve.json"
"""The file's name within an archive and within the directory of an exported model."""

_POINT = ("accuracy", "macro_f1", "mean_layers", "calibration_error")

_LARGEST = 1 << 24
"""The most bytes that the file may have."""


@dataclass(frozen=True)
class Curve:
    """Hold what a model gave on labelled rows, at every setting of its policy.

    # Parameters

    data : `str`
        Where the rows come from.
    rows : `int`
        None of them trained the model's weights.
    used_for : `Dict[str, int]`
        How many of them were also used to fit the temperatures, and to choose the policy's setting.
    sweeps : `str`
        The name of the setting, such as `threshold`.
    exit_layers : `List[int]`
    full_layers : `int`
        Layers of the full model.
    points : `List[Dict[str, Any]]`
        The fastest first; the last is the full model. Each has `setting` (`None` if it is
        infinite), `accuracy`, `macro_f1`, `mean_layers`, `calibration_error` and `shares`, the
        share of the rows that each exit answers.
    default : `Dict[str, Any]`
        Such a point at the settings that the model has; `setting` is a list if each exit but the
        last has a threshold of its own.
    exit_accuracy : `List[float]`
        Of each exit, if it answers all rows.
    conditions : `Conditions`
        What the model was then: with other temperatures, for example, the curve is another.

    # Raises

    `ValueError` if they do not belong together.
    """

    data: str
    rows: int
    used_for: Dict[str, int]
    sweeps: str
    exit_layers: List[int]
    full_layers: int
    points: List[Dict[str, Any]]
    default: Dict[str, Any]
    exit_accuracy: List[float]
    conditions: Conditions

    def __post_init__(self) -> None:
        layers = self.exit_layers
        if not layers or not all(type(layer) is int for layer in layers):
            raise ValueError("exit_layers must be a list of layers")
        if len(self.exit_accuracy) != len(layers) or not all(map(_is_share, self.exit_accuracy)):
            raise ValueError("exit_accuracy must have a share for each exit")
        if type(self.rows) is not int or self.rows < 1 or not self.points:
            raise ValueError("it must have rows and points")
        for point in [*self.points, self.default]:
            _check_point(point, len(layers))

    @property
    def full(self) -> Dict[str, Any]:
        """The point at which nothing stops early."""
        return self.points[-1]

    def holds(self, now: Conditions) -> bool:
        """Return whether the curve is that of a model as it is now.

        The policy's own setting does not matter; that of a list of thresholds has no curve of its
        own, and stays with the one of its policy.
        """
        then, aside = self.conditions, {self.sweeps, "thresholds"}
        old, new = (
            {name: value for name, value in policy.items() if name not in aside and value is not None}
            for policy in (then.policy, now.policy)
        )  # fmt: skip
        return (
            old == new
            and _are_close(then.temperatures, now.temperatures)
            and _are_close(then.mixing, now.mixing)
            and then.number_format == now.number_format
            and not (then.weights and now.weights and then.weights != now.weights)
        )

    def is_of(self, now: Conditions) -> bool:
        """Return whether the curve `holds`, and `default` is the point of the model as it is."""
        return self.holds(now) and self.conditions.policy == now.policy

    def as_bytes(self) -> bytes:
        """Return the content of the file."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    def save(self, directory: Path) -> None:
        """Write it into the directory of an exported model, before its manifest is written."""
        with replacing(directory / CURVE) as partial:
            partial.write_bytes(self.as_bytes())

    @staticmethod
    def of(content: bytes) -> "Curve":
        """Return the curve that `as_bytes` described.

        # Raises

        `ValueError` if it does not describe one.
        """
        try:
            if len(content) > _LARGEST:
                raise ValueError(f"it is larger than {_LARGEST} bytes")
            fields: Dict[str, Any] = json.loads(content)
            return Curve(**{**fields, "conditions": Conditions(**fields["conditions"])})
        except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{CURVE} is damaged: {error}") from error

    @staticmethod
    def load(directory: Path) -> "Optional[Curve]":
        """Return the curve of an exported model; `None` if it has none.

        # Raises

        `ValueError` if the file is damaged.
        """
        try:
            return Curve.of((directory / CURVE).read_bytes())
        except FileNotFoundError:
            return None


def _check_point(point: Mapping[str, Any], exits: int) -> None:
    if not all(isinstance(point[name], (int, float)) for name in _POINT):
        raise ValueError(f"a point must have numbers: {', '.join(_POINT)}")
    if not all(math.isfinite(point[name]) for name in _POINT):
        raise ValueError("a point's numbers must be finite")
    if not _is_share(point["accuracy"]) or not point["mean_layers"] >= 0:
        raise ValueError("accuracy must be between 0 and 1, and mean_layers at least 0")
    if len(point["shares"]) != exits or not all(map(_is_share, point["shares"])):
        raise ValueError("shares must have a share for each exit")


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1 + 1e-6


def _are_close(old: Any, new: Any) -> bool:
    return len(old) == len(new) and all(
        math.isclose(a, b, rel_tol=1e-5, abs_tol=0) for a, b in zip(old, new)
    )
