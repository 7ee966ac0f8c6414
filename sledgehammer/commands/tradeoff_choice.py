"""Choose a setting for `allennlp tradeoff`, by the conditions on its command line."""

import argparse
import copy
from typing import Dict, List, NamedTuple, Optional

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.risk import recall_drop
from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.commands.tradeoff_guarantee import (
    Goal,
    bounds_of,
    check_guarantee,
    choose_safe,
    verdict,
)
from sledgehammer.model.base import ExitClassifier
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
    group.add_argument(
        "--max-macro-f1-drop", type=float, metavar="E",
        help="the same for macro-F1, which counts rare labels as much as frequent ones",
    )  # fmt: skip
    group.add_argument(
        "--recall", metavar="LABEL", help="the recall of this label may drop by --tolerance E"
    )
    group.add_argument("--tolerance", type=float, metavar="E", help="for --recall, such as 0.02")
    group.add_argument("--min-speedup", type=float, metavar="S", help="layer speedup, such as 3")
    group.add_argument(
        "--delta", type=float, metavar="D",
        help="guarantee each E: a true drop (or inconsistency) exceeds its E with probability at most D",
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
    if (arguments.recall is None) != (arguments.tolerance is None):
        raise ConfigurationError("--recall LABEL and --tolerance E belong together")
    wish = Wish(
        arguments.min_accuracy,
        arguments.max_accuracy_drop,
        arguments.max_inconsistency,
        arguments.min_speedup,
        arguments.max_macro_f1_drop,
        arguments.tolerance,
        arguments.recall,
    )
    if arguments.write and wish.is_empty:
        raise ConfigurationError(
            "--write needs a condition that chooses the setting: --min-accuracy, "
            "--max-accuracy-drop, --max-inconsistency, --max-macro-f1-drop, --recall or "
            "--min-speedup"
        )
    if arguments.delta is not None:
        check_guarantee(arguments, wish)
    elif arguments.each_exit:
        raise ConfigurationError("--each-exit is a guarantee: give --delta D too, such as 0.1")
    return wish


def check_model(arguments: argparse.Namespace, model: ExitClassifier) -> None:
    """Raise a `ConfigurationError` if the model and its policy can't do what is asked for."""
    policy = model.policy
    if arguments.recall is not None and arguments.recall not in model.labels:
        known = ", ".join(map(repr, model.labels[:20])) + ", ..." * (len(model.labels) > 20)
        raise ConfigurationError(
            f"--recall: the model does not know the label {arguments.recall!r}; its labels are {known}"
        )
    fixed = set(policy.threshold) if policy.has_fixed_labels else set()  # type: ignore[attr-defined]
    if fixed >= set(model.labels):
        raise ConfigurationError(
            "every label has a threshold of its own, and nothing is left to choose: leave labels "
            "out of --policy '{\"threshold\": {...}}'"
        )
    if arguments.each_exit and fixed:
        raise ConfigurationError(
            "--each-exit finds a threshold for each exit, not for each label: add "
            '--policy \'{"type": "confidence"}\''
        )
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
    full = tradeoff.full_point()
    if arguments.delta is not None:
        goal = Goal(bounds_of(wish, tradeoff.labels), arguments.delta, arguments.each_exit)
        safe = choose_safe(tradeoff, goal, arguments.settings)
        rest = arguments.seen_rows, warnings
        print(f"\n{verdict(tradeoff, goal, safe is None, seen, *rest)}")
        point, policy = safe or full, _with_setting(tradeoff.policy, safe)
    else:
        point = _choose_on_rows(tradeoff, curve, wish, full)
        policy = _with_setting(tradeoff.policy, point)
    fixed = f" ({policy.swept_shown})" if policy.has_fixed_labels else ""
    print(
        f"\nchosen {point.name}: {point.shown}{fixed}\n  accuracy {point.accuracy:.1%} (full model "
        f"{full.accuracy:.1%}), layer speedup {point.speedup_shown}, "
        f"{point.mean_layers:.2f} layers on average"
    )
    _print_rare_labels(tradeoff, point, full, wish)
    return Chosen(point, policy, None if warnings else arguments.delta)


def _print_rare_labels(tradeoff: Tradeoff, point: Point, full: Point, wish: Wish) -> None:
    """Print what a wish about macro-F1, or about a label, asks for."""
    if wish.max_macro_f1_drop is not None:
        print(f"  macro-F1 {point.macro_f1:.3f} (full model {full.macro_f1:.3f})")
    if wish.recall_of is not None and isinstance(point.setting, float):
        label = tradeoff.labels.index(wish.recall_of)
        of_label = tradeoff.label == label
        before = float(tradeoff.full_correct[of_label].double().mean())
        after = before if point is full else tradeoff.recall_at(point.setting, label)
        print(
            f"  recall of {wish.recall_of!r} {after:.1%} (full model {before:.1%}) on "
            f"{int(of_label.sum())} rows"
        )


def _choose_on_rows(tradeoff: Tradeoff, curve: List[Point], wish: Wish, full: Point) -> Point:
    """Return the point that meets the conditions on these rows."""
    full_answers = tradeoff.full_predicted
    inconsistencies = [0.0] * len(curve)
    if wish.max_inconsistency is not None:
        answers = [tradeoff.predicted_at(point.number) for point in curve]
        inconsistencies = [float((early != full_answers).double().mean()) for early in answers]
    recall_drops = [0.0] * len(curve)
    if wish.recall_of is not None:
        label = tradeoff.labels.index(wish.recall_of)
        drops = (recall_drop(tradeoff, point.number, label) for point in curve)
        recall_drops = [float(drop.mean()) if len(drop) else 0.0 for drop in drops]
    chosen = choose(curve, inconsistencies, full, wish, recall_drops)
    if chosen is None:
        raise ConfigurationError(
            f"no {full.name} meets these conditions: accuracy goes up to {max(p.accuracy for p in curve):.1%}, "
            f"layer speedup up to {max(curve, key=lambda p: p.layer_speedup).speedup_shown}, not both at once"
        )
    return chosen


def _with_setting(policy: ExitPolicy, point: Optional[Point]) -> ExitPolicy:
    """Return a copy of the policy with a point's setting, or its list of thresholds; without a point
    the full model."""
    if point is None:
        full = copy.copy(policy)
        full.change({policy.sweeps: policy.full})
        return full
    if isinstance(point.setting, list):
        cap = policy.max_exit_layer
        chosen: ExitPolicy = ConfidencePolicy(thresholds=point.setting, max_exit_layer=cap)
        return chosen
    changed = copy.copy(policy)
    changed.sweep_to(point.number)
    return changed


def wanted(wish: Wish) -> Dict[str, float]:
    """Return the conditions that a wish has, by name."""
    wanted = {n: v for n, v in vars(wish).items() if v is not None and n != "recall_of"}
    if wish.recall_of is not None:
        wanted[f"max_recall_drop of {wish.recall_of}"] = wanted.pop("max_recall_drop")
    return wanted
