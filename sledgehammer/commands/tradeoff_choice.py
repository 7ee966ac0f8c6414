"""What `allennlp tradeoff` chooses, by the conditions on its command line."""

import argparse
import copy
from typing import Dict, List, NamedTuple, Optional, cast

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.each_exit import safe_thresholds
from sledgehammer.analysis.risk import fastest_safe
from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.model.fitted_rows import SeenRows
from sledgehammer.policies import ConfidencePolicy, ExitPolicy


class Chosen(NamedTuple):
    """A point of the curve, and how to get it.

    # Parameters

    point : `Point`
    policy : `ExitPolicy`
        With the chosen setting.
    delta : `float`, optional
        The risk that was accepted, if something is guaranteed.
    """

    point: Point
    policy: ExitPolicy
    delta: Optional[float]


class Goal(NamedTuple):
    """What is to be guaranteed: a risk of at most `bound`, with a probability of 1 - `delta`."""

    risk: str
    bound: float
    delta: float
    each_exit: bool


def add_choice(choice: "argparse._ArgumentGroup") -> None:
    """Add the options that choose a setting."""
    choice.add_argument("--min-accuracy", type=float, metavar="A", help="such as 0.92")
    choice.add_argument(
        "--max-accuracy-drop", type=float, metavar="E", help="against the last exit, as 0.01"
    )
    choice.add_argument(
        "--max-inconsistency", type=float, metavar="E", help="answers not the last exit's"
    )
    choice.add_argument("--min-speedup", type=float, metavar="S", help="layer speedup, as 3")
    choice.add_argument(
        "--delta", type=float, metavar="D",
        help="guarantee E: the true drop (or inconsistency) exceeds it with probability <= D",
    )  # fmt: skip
    choice.add_argument(
        "--each-exit", action="store_true",
        help="guarantee E among the texts that each exit answers; a threshold an exit",
    )  # fmt: skip


def checked_wish(arguments: argparse.Namespace) -> Wish:
    """Return the conditions of a command line.

    # Raises

    `ConfigurationError` for those that can't be, or not together.
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
            "below 1), and neither --min-accuracy nor --min-speedup beside it"
        )
    if arguments.exact:
        raise ConfigurationError(
            "--exact takes its settings from the rows, and a guarantee needs some that were fixed "
            "before: leave it out, or give --thresholds"
        )
    if arguments.each_exit and arguments.settings:
        raise ConfigurationError(
            "--each-exit finds a threshold for each exit itself: leave out --thresholds"
        )


def check_policy(arguments: argparse.Namespace, policy: ExitPolicy) -> None:
    """Raise a `ConfigurationError` if the policy can't have what is wanted."""
    if arguments.each_exit and not isinstance(policy, ConfidencePolicy):
        raise ConfigurationError(
            f"--each-exit is for the policy 'confidence', not {policy.name!r}: add "
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

    seen : `SeenRows`
        Of the model.
    warnings : `List[str]`
        What was said of the rows: with any of it nothing is guaranteed.

    # Raises

    `ConfigurationError` if none will do.
    """
    full = tradeoff.curve([tradeoff.full])[0]
    if arguments.delta is not None:
        goal = _goal(wish, arguments)
        point = _choose_safe(tradeoff, goal, arguments.settings)
        print(
            "\n"
            + _sentence(tradeoff, goal, point.setting == tradeoff.full, seen, arguments, warnings)
        )
    else:
        point = _choose_fitting(tradeoff, curve, wish, full)
    print(
        f"\nchosen {point.name}: {point.shown}\n  accuracy {point.accuracy:.1%} (full model "
        f"{full.accuracy:.1%}), layer speedup {point.layer_speedup:.2f}x, "
        f"{point.mean_layers:.2f} layers on average"
    )
    delta = None if warnings else arguments.delta
    return Chosen(point, _with_setting(tradeoff.policy, point), delta)


def _choose_fitting(tradeoff: Tradeoff, curve: List[Point], wish: Wish, full: Point) -> Point:
    """Return the point that meets the conditions on these rows."""
    full_answers = tradeoff.predicted_at(tradeoff.full)
    other = [0.0] * len(curve)
    if wish.max_inconsistency is not None:
        answers = [tradeoff.predicted_at(cast(float, point.setting)) for point in curve]
        other = [float((own != full_answers).double().mean()) for own in answers]
    found = choose(curve, other, full, wish)
    if found is None:
        raise ConfigurationError(
            f"no {full.name} gives that: accuracy goes up to {max(p.accuracy for p in curve):.1%}, "
            f"layer speedup up to {max(p.layer_speedup for p in curve):.2f}x, not both at once"
        )
    return found


def _goal(wish: Wish, arguments: argparse.Namespace) -> Goal:
    bounds = {
        "accuracy-drop": wish.max_accuracy_drop,
        "inconsistency": wish.max_inconsistency,
    }
    ((risk, bound),) = ((name, value) for name, value in bounds.items() if value is not None)
    return Goal(risk, bound, arguments.delta, arguments.each_exit)


def _choose_safe(tradeoff: Tradeoff, goal: Goal, settings: Optional[List[float]]) -> Point:
    """Return the fastest point shown safe; the full model's if there is none."""
    if goal.each_exit:
        thresholds = safe_thresholds(tradeoff, goal.bound, goal.delta, goal.risk)
        if thresholds is not None:
            return tradeoff.with_thresholds(thresholds)
    else:
        safe = fastest_safe(tradeoff, goal.bound, goal.delta, goal.risk, settings)
        if safe is not None:
            return tradeoff.curve([safe])[0]
    return tradeoff.curve([tradeoff.full])[0]


def _sentence(
    tradeoff: Tradeoff,
    goal: Goal,
    is_full: bool,
    seen: SeenRows,
    arguments: argparse.Namespace,
    warnings: List[str],
) -> str:
    """Return what may be said of the setting that was chosen."""
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
    drawn = "as these were"
    if arguments.seen_rows == "skip":
        drawn += ", texts that had a part in the model aside"
    if not seen.knows_training_rows:
        drawn += "; if none of these trained the model, which it does not remember"
    return (
        f"With probability at least {1 - goal.delta:g} the true {goal.risk}{where} is at most "
        f"{goal.bound:g}, against {tradeoff.full_name} (for rows drawn {drawn})."
    )


def _with_setting(policy: ExitPolicy, point: Point) -> ExitPolicy:
    if isinstance(point.setting, list):
        cap = policy.max_exit_layer
        chosen: ExitPolicy = ConfidencePolicy(thresholds=point.setting, max_exit_layer=cap)
        return chosen
    changed = copy.copy(policy)
    changed.change({policy.sweeps: point.setting})
    return changed


def wanted(wish: Wish) -> Dict[str, float]:
    """Return the conditions that there are, by name."""
    return {name: value for name, value in vars(wish).items() if value is not None}
