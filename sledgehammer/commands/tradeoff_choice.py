"""Choose a setting for `allennlp tradeoff`, by the conditions on its command line."""

import argparse
import copy
from typing import Dict, List, NamedTuple, Optional

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.each_exit import safe_thresholds
from sledgehammer.analysis.risk import fastest_safe
from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.model.fitted_rows import SeenRows
from sledgehammer.policies import ConfidencePolicy, ExitPolicy


class Chosen(NamedTuple):
    """Hold the chosen point of the curve, and how to get there.

    # Parameters

    point : `Point`
    policy : `ExitPolicy`
        The policy with the chosen setting.
    delta : `float`, optional
        The probability that the guarantee fails; `None` if nothing is guaranteed.
    """

    point: Point
    policy: ExitPolicy
    delta: Optional[float]


class Goal(NamedTuple):
    """Hold what to guarantee: a risk of at most `bound`, with probability 1 - `delta`."""

    risk: str
    bound: float
    delta: float
    each_exit: bool


def add_choice(group: "argparse._ArgumentGroup") -> None:
    """Add the options that choose a setting to a group of arguments."""
    group.add_argument("--min-accuracy", type=float, metavar="A", help="such as 0.92")
    group.add_argument(
        "--max-accuracy-drop", type=float, metavar="E", help="against the last exit, such as 0.01"
    )
    group.add_argument(
        "--max-inconsistency",
        type=float,
        metavar="E",
        help="share of answers that differ from the last exit's",
    )
    group.add_argument("--min-speedup", type=float, metavar="S", help="layer speedup, such as 3")
    group.add_argument(
        "--delta", type=float, metavar="D",
        help="guarantee E: the true drop (or inconsistency) exceeds E with probability at most D",
    )  # fmt: skip
    group.add_argument(
        "--each-exit", action="store_true",
        help="guarantee E among the texts of each exit, with a threshold for each exit",
    )  # fmt: skip


def checked_wish(arguments: argparse.Namespace) -> Wish:
    """Return the conditions on the command line.

    # Raises

    `ConfigurationError` for conditions that are impossible, or contradict each other.
    """
    wish = Wish(
        arguments.min_accuracy,
        arguments.max_accuracy_drop,
        arguments.max_inconsistency,
        arguments.min_speedup,
    )
    if arguments.write and wish.is_empty:
        raise ConfigurationError(
            "--write needs a condition that chooses the setting: --min-accuracy, "
            "--max-accuracy-drop, --max-inconsistency or --min-speedup"
        )
    if arguments.delta is not None:
        _check_guarantee(arguments, wish)
    elif arguments.each_exit:
        raise ConfigurationError("--each-exit is a guarantee: give --delta D too, such as 0.1")
    return wish


def _check_guarantee(arguments: argparse.Namespace, wish: Wish) -> None:
    if not 0 < arguments.delta < 1:
        raise ConfigurationError(f"--delta must be between 0 and 1, got {arguments.delta}")
    bounds = [b for b in (wish.max_accuracy_drop, wish.max_inconsistency) if b is not None]
    others = (wish.min_accuracy, wish.min_speedup)
    if len(bounds) != 1 or not 0 < bounds[0] < 1 or any(o is not None for o in others):
        raise ConfigurationError(
            "--delta guarantees either --max-accuracy-drop or --max-inconsistency (above 0, "
            "below 1); leave out --min-accuracy and --min-speedup"
        )
    if arguments.exact:
        raise ConfigurationError(
            "--exact takes its settings from the rows, but a guarantee needs settings fixed before "
            "the rows were seen: leave out --exact, or give --thresholds"
        )
    if arguments.each_exit and arguments.settings:
        raise ConfigurationError(
            "--each-exit finds a threshold for each exit itself: leave out --thresholds"
        )


def check_policy(arguments: argparse.Namespace, policy: ExitPolicy) -> None:
    """Raise a `ConfigurationError` for `--each-exit` with a policy that has no such thresholds."""
    if arguments.each_exit and not isinstance(policy, ConfidencePolicy):
        raise ConfigurationError(
            f"--each-exit needs the policy 'confidence', not {policy.name!r}: add "
            '--policy \'{"type": "confidence"}\''
        )


def choose_point(
    tradeoff: Tradeoff,
    curve: List[Point],
    wish: Wish,
    arguments: argparse.Namespace,
    seen: SeenRows,
    warnings: List[str],
) -> Chosen:
    """Choose a setting, and print it.

    # Parameters

    tradeoff : `Tradeoff`
    curve : `List[Point]`
        The points to choose from; those of a guarantee are searched for.
    seen : `SeenRows`
        The rows that were used to make the model.
    warnings : `List[str]`
        Warnings about the rows. If there are any, nothing is guaranteed.

    # Raises

    `ConfigurationError` if no setting meets the conditions.
    """
    full = tradeoff.curve([tradeoff.full])[0]
    if arguments.delta is not None:
        goal = _goal(wish, arguments)
        point = _choose_safe(tradeoff, goal, arguments.settings)
        is_full = point.setting == tradeoff.full
        print(f"\n{_verdict(tradeoff, goal, is_full, seen, arguments, warnings)}")
    else:
        point = _choose_on_rows(tradeoff, curve, wish, full)
    print(
        f"\nchosen {point.name}: {point.shown}\n  accuracy {point.accuracy:.1%} (full model "
        f"{full.accuracy:.1%}), layer speedup {point.speedup_shown}, "
        f"{point.mean_layers:.2f} layers on average"
    )
    delta = None if warnings else arguments.delta
    return Chosen(point, _with_setting(tradeoff.policy, point), delta)


def _choose_on_rows(tradeoff: Tradeoff, curve: List[Point], wish: Wish, full: Point) -> Point:
    """Return the point that meets the conditions on these rows."""
    full_answers = tradeoff.predicted_at(tradeoff.full)
    inconsistencies = [0.0] * len(curve)
    if wish.max_inconsistency is not None:
        answers = [tradeoff.predicted_at(point.number) for point in curve]
        inconsistencies = [float((early != full_answers).double().mean()) for early in answers]
    chosen = choose(curve, inconsistencies, full, wish)
    if chosen is None:
        raise ConfigurationError(
            f"no {full.name} meets these conditions: accuracy goes up to {max(p.accuracy for p in curve):.1%}, "
            f"layer speedup up to {max(curve, key=lambda p: p.layer_speedup).speedup_shown}, not both at once"
        )
    return chosen


def _goal(wish: Wish, arguments: argparse.Namespace) -> Goal:
    """Return the guarantee that a wish with one bound asks for."""
    bounds = {
        "accuracy-drop": wish.max_accuracy_drop,
        "inconsistency": wish.max_inconsistency,
    }
    ((risk, bound),) = ((name, value) for name, value in bounds.items() if value is not None)
    return Goal(risk, bound, arguments.delta, arguments.each_exit)


def _choose_safe(tradeoff: Tradeoff, goal: Goal, settings: Optional[List[float]]) -> Point:
    """Return the fastest point that is shown to be safe, or the full model's if none is."""
    if goal.each_exit:
        thresholds = safe_thresholds(tradeoff, goal.bound, goal.delta, goal.risk)
        if thresholds is not None:
            return tradeoff.with_thresholds(thresholds)
    else:
        safe = fastest_safe(tradeoff, goal.bound, goal.delta, goal.risk, settings)
        if safe is not None:
            return tradeoff.curve([safe])[0]
    return tradeoff.curve([tradeoff.full])[0]


def _verdict(
    tradeoff: Tradeoff,
    goal: Goal,
    is_full: bool,
    seen: SeenRows,
    arguments: argparse.Namespace,
    warnings: List[str],
) -> str:
    """Return in words what is guaranteed of the chosen setting."""
    where = " among the texts that each exit answers" if goal.each_exit else ""
    if is_full:
        return (
            f"No {tradeoff.policy.sweeps} can be shown to keep the {goal.risk}{where} below "
            f"{goal.bound:g} with probability {1 - goal.delta:g} on {len(tradeoff.label)} rows, "
            f"against {tradeoff.full_name}: only the full model is safe. More rows, a larger "
            "bound or a larger delta may help."
        )
    if warnings:
        return "Chosen as for a guarantee, but nothing is guaranteed: see the warnings."
    condition = "as these were"
    if arguments.seen_rows == "skip":
        condition += ", texts that had a part in the model aside"
    if not seen.knows_training_rows:
        condition += (
            "; the model does not remember its training rows: none of these may be among them"
        )
    return (
        f"With probability at least {1 - goal.delta:g} the true {goal.risk}{where} is at most "
        f"{goal.bound:g}, against {tradeoff.full_name} (for rows drawn {condition})."
    )


def _with_setting(policy: ExitPolicy, point: Point) -> ExitPolicy:
    """Return a copy of the policy with a point's setting, or its list of thresholds."""
    if isinstance(point.setting, list):
        cap = policy.max_exit_layer
        chosen: ExitPolicy = ConfidencePolicy(thresholds=point.setting, max_exit_layer=cap)
        return chosen
    changed = copy.copy(policy)
    changed.change({policy.sweeps: point.setting})
    return changed


def wanted(wish: Wish) -> Dict[str, float]:
    """Return the conditions that a wish has, by name."""
    return {name: value for name, value in vars(wish).items() if value is not None}
