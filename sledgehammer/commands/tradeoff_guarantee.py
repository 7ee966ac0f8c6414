"""Choose a setting with a guarantee for `allennlp tradeoff`, and say what is guaranteed."""

import argparse
from typing import List, NamedTuple, Optional, Sequence

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.each_exit import safe_thresholds
from sledgehammer.analysis.risk import RISKS, RiskBound, fastest_within
from sledgehammer.analysis.selection import Wish
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.model.fitted_rows import SeenRows


class Goal(NamedTuple):
    """Hold what to guarantee: all bounds, with probability 1 - `delta`."""

    bounds: List[RiskBound]
    delta: float
    each_exit: bool


def bounds_of(wish: Wish, labels: Sequence[str]) -> List[RiskBound]:
    """Return the bounds among a wish's conditions.

    # Parameters

    labels : `Sequence[str]`
        The model's labels, of which the wish may name one.
    """
    label = None if wish.recall_of is None else list(labels).index(wish.recall_of)
    bounds = (
        ("accuracy-drop", wish.max_accuracy_drop, None),
        ("inconsistency", wish.max_inconsistency, None),
        ("macro-f1-drop", wish.max_macro_f1_drop, None),
        ("recall-drop", wish.max_recall_drop, label),
    )
    return [RiskBound(name, bound, label) for name, bound, label in bounds if bound is not None]


def check_guarantee(arguments: argparse.Namespace, wish: Wish) -> None:
    """Raise a `ConfigurationError` if what is asked for can't be guaranteed."""
    if not 0 < arguments.delta < 1:
        raise ConfigurationError(f"--delta must be between 0 and 1, got {arguments.delta}")
    bounds = {name: bound for name, bound in vars(wish).items() if name in _GUARANTEED}
    given = {name for name, bound in bounds.items() if bound is not None}
    others = (wish.min_accuracy, wish.min_speedup)
    if (
        not given
        or not all(0 < bounds[name] < 1 for name in given)
        or any(o is not None for o in others)
    ):
        raise ConfigurationError(
            "--delta guarantees either --max-accuracy-drop, --max-inconsistency, "
            "--max-macro-f1-drop or --recall, or several of them (above 0, below 1); leave out "
            "--min-accuracy and --min-speedup"
        )
    if arguments.exact:
        raise ConfigurationError(
            "--exact takes its settings from the rows, but a guarantee needs settings fixed before "
            "the rows were seen: leave out --exact, or give --thresholds"
        )
    if arguments.each_exit:
        _check_each_exit(arguments, given)


_GUARANTEED = ("max_accuracy_drop", "max_inconsistency", "max_macro_f1_drop", "max_recall_drop")


def _check_each_exit(arguments: argparse.Namespace, given: "set[str]") -> None:
    if arguments.settings:
        raise ConfigurationError(
            "--each-exit finds a threshold for each exit itself: leave out --thresholds"
        )
    if len(given) > 1 or not given <= {"max_accuracy_drop", "max_inconsistency"}:
        raise ConfigurationError(
            "--each-exit guarantees either --max-accuracy-drop or --max-inconsistency, and nothing "
            "else with it"
        )


def choose_safe(tradeoff: Tradeoff, goal: Goal, settings: Optional[List[float]]) -> Optional[Point]:
    """Return the fastest point that is shown to be safe, or `None` if only the full model is."""
    if goal.each_exit:
        ((risk, bound, _),) = ((b.risk, b.bound, b.label) for b in goal.bounds)
        assert risk in RISKS
        thresholds = safe_thresholds(tradeoff, bound, goal.delta, risk)
        return None if thresholds is None else tradeoff.with_thresholds(thresholds)
    safe = fastest_within(tradeoff, goal.bounds, goal.delta, settings)
    return None if safe is None else tradeoff.curve([safe])[0]


def verdict(
    tradeoff: Tradeoff,
    goal: Goal,
    is_full: bool,
    seen: SeenRows,
    seen_rows: Optional[str],
    warnings: List[str],
) -> str:
    """Return in words what is guaranteed of the chosen setting.

    # Parameters

    is_full : `bool`
        Whether only the full model is safe.
    seen : `SeenRows`
        The rows that were used to make the model.
    seen_rows : `str`, optional
        What the command line says of such rows.
    warnings : `List[str]`
        Warnings about the rows. If there are any, nothing is guaranteed.
    """
    where = " among the texts that each exit answers" if goal.each_exit else ""
    if is_full:
        kept = " and ".join(
            f"the {_named(b, tradeoff)}{where} below {b.bound:g}" for b in goal.bounds
        )
        return (
            f"No {tradeoff.policy.sweeps} can be shown to keep {kept} "
            f"with probability {1 - goal.delta:g} on {_rows(tradeoff, goal)}, "
            f"against {tradeoff.full_name}: only the full model is safe. More rows, a larger "
            "bound or a larger delta may help."
        )
    if warnings:
        return "Chosen as for a guarantee, but nothing is guaranteed: see the warnings."
    condition = "as these were"
    if seen_rows == "skip":
        condition += ", texts that had a part in the model aside"
    if not seen.knows_training_rows:
        condition += (
            "; the model does not remember its training rows: none of these may be among them"
        )
    kept = " and ".join(
        f"the true {_named(b, tradeoff)}{where} is at most {b.bound:g}" for b in goal.bounds
    )
    return (
        f"With probability at least {1 - goal.delta:g} {kept}, against {tradeoff.full_name} "
        f"(for rows drawn {condition})."
    )


def _named(bound: RiskBound, tradeoff: Tradeoff) -> str:
    return (
        bound.risk if bound.label is None else f"{bound.risk} of {tradeoff.labels[bound.label]!r}"
    )


def _rows(tradeoff: Tradeoff, goal: Goal) -> str:
    """Return how many rows there are; and of the labels that decide how much they can show."""
    rows = f"{len(tradeoff.label)} rows"
    names = [bound.risk for bound in goal.bounds]
    counts = tradeoff.label.bincount(minlength=tradeoff.probs.size(-1)).tolist()
    told = {bound.label for bound in goal.bounds if bound.label is not None}
    if "macro-f1-drop" in names:
        told.add(min(range(len(counts)), key=counts.__getitem__))
    few = ", ".join(f"{counts[label]} of {tradeoff.labels[label]!r}" for label in sorted(told))
    return f"{rows} ({few})" if few else rows
