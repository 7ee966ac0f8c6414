"""What `allennlp tradeoff` chooses, by the conditions on its command line."""

import argparse
from typing import List

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.risk import fastest_safe
from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point, Tradeoff


def checked_wish(arguments: argparse.Namespace) -> Wish:
    """The conditions of a command line.

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
        if not 0 < arguments.delta < 1:
            raise ConfigurationError(f"--delta must be between 0 and 1, got {arguments.delta}")
        bounds = [b for b in (wish.max_accuracy_drop, wish.max_inconsistency) if b is not None]
        others = (wish.min_accuracy, wish.min_speedup)
        if len(bounds) != 1 or not 0 < bounds[0] < 1 or any(o is not None for o in others):
            raise ConfigurationError(
                "--delta guarantees either --max-accuracy-drop or --max-inconsistency (above 0, "
                "below 1), and neither --min-accuracy nor --min-speedup beside it"
            )
    return wish


def choose_point(
    tradeoff: Tradeoff, curve: List[Point], wish: Wish, arguments: argparse.Namespace
) -> Point:
    """The point of the chosen setting, which is printed too.

    # Raises

    `ConfigurationError` if none will do.
    """
    full = tradeoff.curve([tradeoff.full])[0]
    if arguments.delta is not None:
        point = _choose_safe(tradeoff, wish, arguments.delta)
    else:
        full_answers = tradeoff.predicted_at(tradeoff.full)
        other = [
            float((tradeoff.predicted_at(p.setting or 0.0) != full_answers).double().mean())
            if wish.max_inconsistency is not None
            else 0.0
            for p in curve
        ]
        found = choose(curve, other, full, wish)
        if found is None:
            raise ConfigurationError(
                f"no {full.name} gives that: accuracy goes up to {max(p.accuracy for p in curve):.1%}, "
                f"layer speedup up to {max(p.layer_speedup for p in curve):.2f}x, not both at once"
            )
        point = found
    print(
        f"\nchosen {point.name}: {point.setting:.6g}\n  accuracy {point.accuracy:.1%} (full model "
        f"{full.accuracy:.1%}), layer speedup {point.layer_speedup:.2f}x, "
        f"{point.mean_layers:.2f} layers on average"
    )
    return point


def _choose_safe(tradeoff: Tradeoff, wish: Wish, delta: float) -> Point:
    risk = "inconsistency" if wish.max_accuracy_drop is None else "accuracy-drop"
    bound = wish.max_inconsistency if wish.max_accuracy_drop is None else wish.max_accuracy_drop
    assert bound is not None
    safe = fastest_safe(tradeoff, bound, delta, risk)
    if safe is None:
        print(
            f"\nNo {tradeoff.policy.sweeps} can be shown to keep the {risk} below {bound:g} with probability "
            f"{1 - delta:g} on {len(tradeoff.label)} rows: only the full model is safe. More rows, "
            "a larger bound or a larger delta may help."
        )
    else:
        print(
            f"\nWith probability at least {1 - delta:g} the true {risk} is at most {bound:g} "
            "(for rows drawn as these were)."
        )
    return tradeoff.curve([tradeoff.full if safe is None else safe])[0]
