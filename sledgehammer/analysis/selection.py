"""Choose a policy's setting from a measured curve."""

from dataclasses import dataclass
from typing import List, Optional, Sequence

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.tradeoff import Point

_LOSSES = ("max_accuracy_drop", "max_inconsistency", "max_macro_f1_drop", "max_recall_drop")
_OPTIONS = {"max_recall_drop": "tolerance"}
"""What the command line calls fields that have another name there."""


@dataclass(frozen=True)
class Wish:
    """Hold the conditions that the chosen setting must meet on the data.

    # Parameters

    min_accuracy : `float`, optional
    max_accuracy_drop : `float`, optional
        Against the model's own last exit.
    max_inconsistency : `float`, optional
        Share of answers that differ from those of the last exit.
    min_speedup : `float`, optional
        Layer speedup.
    max_macro_f1_drop : `float`, optional
        Against the model's own last exit.
    max_recall_drop : `float`, optional
        The same for the recall of one label.
    recall_of : `str`, optional
        That label.

    # Raises

    `ConfigurationError` for values that no model can reach.
    """

    min_accuracy: Optional[float] = None
    max_accuracy_drop: Optional[float] = None
    max_inconsistency: Optional[float] = None
    min_speedup: Optional[float] = None
    max_macro_f1_drop: Optional[float] = None
    max_recall_drop: Optional[float] = None
    recall_of: Optional[str] = None

    def __post_init__(self) -> None:
        for name in ("min_accuracy", *_LOSSES):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                option = "--" + _OPTIONS.get(name, name).replace("_", "-")
                raise ConfigurationError(
                    f"{option} must be between 0 and 1 (0.01 is one percentage point), got {value}"
                )
        if self.min_speedup is not None and not self.min_speedup >= 1:
            raise ConfigurationError(f"--min-speedup must be at least 1, got {self.min_speedup}")

    @property
    def wants_accuracy(self) -> bool:
        """Return whether a condition is on the answers; else `choose` seeks the best answers."""
        conditions = (self.min_accuracy, *(getattr(self, name) for name in _LOSSES))
        return any(condition is not None for condition in conditions)

    @property
    def is_empty(self) -> bool:
        """Return whether there is no condition at all."""
        return self.min_speedup is None and not self.wants_accuracy

    def met_by(
        self, point: Point, full: Point, inconsistency: float, recall_drop: float = 0.0
    ) -> bool:
        """Return whether a point meets all conditions."""
        tiny = 1e-12  # 0.93 - 0.92 is not quite 0.01
        met = [
            self.min_accuracy is None or point.accuracy >= self.min_accuracy - tiny,
            self.max_accuracy_drop is None
            or full.accuracy - point.accuracy <= self.max_accuracy_drop + tiny,
            self.max_macro_f1_drop is None
            or full.macro_f1 - point.macro_f1 <= self.max_macro_f1_drop + tiny,
            self.max_recall_drop is None or recall_drop <= self.max_recall_drop + tiny,
            self.max_inconsistency is None or inconsistency <= self.max_inconsistency + tiny,
            self.min_speedup is None or point.layer_speedup >= self.min_speedup - tiny,
        ]
        return all(met)


def choose(
    curve: Sequence[Point],
    inconsistencies: Sequence[float],
    full: Point,
    wish: Wish,
    recall_drops: Optional[Sequence[float]] = None,
) -> Optional[Point]:
    """Return the best point that meets a wish.

    That is the fastest one if the wish has a condition on the answers, else the most accurate.

    # Parameters

    curve : `Sequence[Point]`
    inconsistencies : `Sequence[float]`
        For each of these points the share of answers that differ from the last exit's.
    full : `Point`
        The point of the model's last exit.
    wish : `Wish`
    recall_drops : `Sequence[float]`, optional
        For each of these points by how much the recall of the wish's label drops; needed if it
        names one.

    # Returns

    The point, or `None` if none meets the wish.
    """
    if recall_drops is None:
        recall_drops = [0.0] * len(curve)
    meeting: List[Point] = [
        point
        for point, inconsistency, drop in zip(curve, inconsistencies, recall_drops)
        if wish.met_by(point, full, inconsistency, drop)
    ]
    if wish.wants_accuracy:
        return max(meeting, key=lambda p: (p.layer_speedup, p.accuracy), default=None)
    return max(meeting, key=lambda p: (p.accuracy, p.layer_speedup), default=None)
