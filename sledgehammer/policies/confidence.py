"""Stop when an exit is sure."""

from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence, Exits
from sledgehammer.policies.grids import between, confidence, unit_grid
from sledgehammer.policies.settings import (
    OTHERS,
    Decision,
    RowSettings,
    SettingRange,
    Values,
    by_label,
    single,
)


@ExitPolicy.register("confidence")
class ConfidencePolicy(ExitPolicy):
    """Stop at the first exit whose confidence reaches a threshold.

    `max_k p_k >= threshold`, with the calibrated probabilities p of one exit, (labels,).

    Source: Schwartz et al., "The Right Tool for the Job", ACL 2020, section 3.2.

    # Parameters

    threshold : `Union[float, Dict[str, float]]`, optional (default = `0.9`)
        In [0, 1]. 0.0 always takes the first exit; 1.0 always runs to the last exit, even where
        a confidence rounds to 1.0. Or thresholds by label, `{"spam": 0.99, "*": 0.9}`: a row stops
        where its confidence reaches the threshold of the label that the exit predicts; `"*"`
        stands for the labels not named.
    thresholds : `Sequence[float]`, optional
        Instead of `threshold`: one threshold for each exit but the last, lowest exit first. At an
        exit with 1.0 nothing stops. A text, or a call, that brings a `threshold` of its own is
        decided by that one at all exits; if it is a map without `"*"`, for the labels it names.

    # Raises

    `ValueError` if both are given, or `thresholds` does not have one number for each exit but the
    last.
    """

    settings = {"threshold": SettingRange(default=0.9, per_label=True)}
    sweeps = "threshold"
    threshold: Union[float, Dict[str, float], None]
    """`None` where each exit has its own."""

    def __init__(
        self, *swept: Any, thresholds: Optional[Sequence[float]] = None, **values: Any
    ) -> None:
        self._thresholds = None if thresholds is None else self._checked_thresholds(thresholds)
        super().__init__(*swept, **values)
        if self._thresholds is None:
            return
        given = swept[0] if swept else values.get("threshold", {})
        if not isinstance(given, dict) or OTHERS in given:
            raise ValueError("give either threshold or thresholds, not both")
        merged = self.threshold if isinstance(self.threshold, dict) else {}
        self.threshold = {label: merged[label] for label in given} or None
        # Where nothing stops no confidence is enough, not even one that rounds to 1.0.
        self._enough = [np.inf if t == 1.0 else single(t) for t in self._thresholds]

    @property
    def thresholds(self) -> Optional[List[float]]:
        """Return the thresholds of all exits but the last, if each exit has its own."""
        return self._thresholds if self.swept is None else None

    def config(self) -> Dict[str, Any]:
        each = {} if self.thresholds is None else {"thresholds": list(self.thresholds)}
        return {**super().config(), **each}

    def bind(self, exits: Exits) -> None:
        if self._thresholds is not None and len(self._thresholds) != len(exits.layers) - 1:
            raise ValueError(
                f"thresholds has {len(self._thresholds)} figures for {len(exits.layers)} exits: "
                "give one for each exit but the last, which answers all that is left"
            )
        super().bind(exits)

    def never(self, settings: RowSettings) -> Decision:
        value = settings["threshold"]
        if by_label(value):
            never = ((value >= 1.0) & (value != np.inf)).all(axis=1)
            return bool(never[0]) if len(never) == 1 else never
        if self._thresholds is None:
            return super().never(settings)
        # Infinity is no threshold: it stands for the thresholds of the exits.
        return super().never(settings) & (value != np.inf)

    def stops(self, evidence: Evidence, settings: RowSettings) -> Decision:
        value = settings["threshold"]
        if by_label(value):
            predicted = evidence.last.argmax(axis=1)
            value = value[0 if len(value) == 1 else np.arange(len(value)), predicted]
            # Where nothing stops no confidence is enough; infinity has a meaning of its own.
            never = value == 1.0
            enough = self._threshold_at(evidence.seen - 1, value)
            return (evidence.confidence >= enough) & ~never
        return evidence.confidence >= self._threshold_at(evidence.seen - 1, value)

    def _threshold_at(self, position: int, value: Values) -> Values:
        if self._thresholds is None:
            return value
        enough = self._enough[position]
        if isinstance(value, ndarray):
            return np.where(value == np.inf, np.float32(enough), value)
        return enough if value == np.inf else value

    def grid(self, labels: int) -> List[float]:
        return unit_grid(above=1 / labels)  # no confidence is below

    def distinct(self, evidence: Evidence) -> List[float]:
        return between(0.0, confidence(evidence.probs[:, :-1]).ravel(), 1.0)

    def _checked_thresholds(self, thresholds: Any) -> List[float]:
        if not isinstance(thresholds, (list, tuple)):
            raise ValueError(f"thresholds must be a list, one an exit, got {thresholds!r}")
        each = self.settings["threshold"]
        return [float(each.checked(value, "each of thresholds") or 0.0) for value in thresholds]
