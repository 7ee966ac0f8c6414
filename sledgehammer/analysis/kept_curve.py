"""Measure what a model carries with it: its curve, and what its texts looked like."""

import math
from typing import Any, Dict, Optional

from sledgehammer.analysis.all_exits import ExitOutputs, tradeoff_of
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.engine.curve import Curve
from sledgehammer.model.archives import Opened


def measure_curve(opened: Opened, outputs: ExitOutputs, data: str) -> Curve:
    """Return the curve of a model on labelled rows, at the settings of its policy's own grid.

    Call it once the model remembers which rows its temperatures and its setting come from: the
    curve says how many of these are among its rows.

    # Parameters

    data : `str`
        Where the rows come from.
    """
    tradeoff = tradeoff_of(opened, outputs)
    seen = opened.model.seen
    return Curve(
        data=data,
        rows=len(outputs.hashes),
        used_for={name: seen.overlap(name, outputs.hashes) for name in ("temperatures", "threshold")},
        sweeps=tradeoff.policy.sweeps,
        exit_layers=tradeoff.exit_layers,
        full_layers=tradeoff.full_layers,
        points=[_figures(point) for point in tradeoff.curve(tradeoff.grid())],
        default=_figures(tradeoff.at_default()),
        exit_accuracy=[point.accuracy for point in tradeoff.single_exits()],
        conditions=opened.model.conditions(),
    )  # fmt: skip


def without_training_rows(opened: Opened, outputs: ExitOutputs) -> Optional[ExitOutputs]:
    """Return what is left without the rows that trained the model; `None` if nothing is.

    On those, every exit is surer and more often right than on texts to come.
    """
    unused = ~opened.model.seen.among("weights", outputs.hashes)
    if not bool(unused.any()):
        return None
    return outputs if bool(unused.all()) else outputs.of_rows(unused)


def _figures(point: Point) -> Dict[str, Any]:
    return {
        "setting": _finite(point.setting),
        "accuracy": point.accuracy,
        "macro_f1": point.macro_f1,
        "mean_layers": point.mean_layers,
        "calibration_error": point.calibration_error,
        "shares": list(point.shares.values()),
    }


def _finite(setting: Any) -> Any:
    """Return a setting as JSON can hold it, which has no infinity."""
    return None if isinstance(setting, float) and math.isinf(setting) else setting
