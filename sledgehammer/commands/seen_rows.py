"""Rows that had a part in a model: commands warn of them, leave them out or refuse them."""

import argparse
import sys
from typing import Dict, List, Optional

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.analysis.all_exits import fingerprints
from sledgehammer.dataset_readers.base import Row
from sledgehammer.model.archives import Opened
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.fitted_rows import PURPOSES
from sledgehammer.policies import Choice, Conditions

VERBS = {
    "weights": "train the model",
    "temperatures": "fit the temperatures",
    "threshold": "choose the threshold",
}
"""What rows of each of `PURPOSES` were used to do."""


def add_seen_rows(group: "argparse._ArgumentGroup") -> None:
    """Add the option that says what becomes of such rows."""
    group.add_argument(
        "--seen-rows", choices=["refuse", "skip", "use"],
        help="rows of DATA that trained the model, fitted its temperatures or chose its setting: "
        "refuse them (the default with --delta), leave them out, or use them all the same (the "
        "default without; with --delta nothing is guaranteed then)",
    )  # fmt: skip


def allowed_rows(arguments: argparse.Namespace, opened: Opened, rows: List[Row]) -> List[Row]:
    """Return the rows that a command may use, as its `--seen-rows` says.

    # Raises

    `ConfigurationError` if there are rows to refuse, or none is left.
    """
    what = arguments.seen_rows or ("use" if arguments.delta is None else "refuse")
    if what == "use":
        return rows
    hashes = fingerprints(opened.reader, rows)
    counts = {name: opened.model.seen.overlap(name, hashes) for name in PURPOSES}
    if not any(counts.values()):
        return rows
    if what == "refuse":
        reason = "a guarantee needs rows that had" if arguments.delta else "give rows that had"
        raise ConfigurationError(
            f"{_told(counts, len(rows))}: {reason} no part in the model. Give other rows, "
            "--seen-rows skip to leave these out, or --seen-rows use to use them"
            + (", without the guarantee" if arguments.delta else "")
        )
    had_part = torch.stack([opened.model.seen.among(name, hashes) for name in PURPOSES]).any(dim=0)
    left = [row for row, seen in zip(rows, had_part.tolist()) if not seen]
    if not left:
        raise ConfigurationError(f"{_told(counts, len(rows))}: none is left; give other rows")
    print(f"left out {len(rows) - len(left)} of {len(rows)} rows: {_told(counts, len(rows))}\n")
    return left


def _told(counts: Dict[str, int], rows: int) -> str:
    used = [f"{count} to {VERBS[name]}" for name, count in counts.items() if count]
    return f"of the {rows} rows of DATA were used: " + ", ".join(used)


def warn_if_seen(model: ExitClassifier, hashes: Tensor, consequences: Dict[str, str]) -> List[str]:
    """Warn of rows that had a part in a model.

    # Parameters

    hashes : `Tensor`
        Fingerprints of the rows.
    consequences : `Dict[str, str]`
        For each of `PURPOSES` that matters, what follows.

    # Returns

    The warnings.
    """
    warnings = []
    for name, consequence in consequences.items():
        if overlap := model.seen.overlap(name, hashes):
            warnings.append(
                f"{overlap} of the {len(hashes)} rows were also used to {VERBS[name]}: "
                f"{consequence}"
            )
    return warn(warnings)


def warn_of_choice(choice: Optional[Choice], now: Conditions, chosen_rows: int) -> List[str]:
    """Warn if a setting was chosen for something else than what the model is now.

    # Parameters

    chosen_rows : `int`
        How many rows are remembered as those it was chosen on: older versions wrote these alone.
        Call this where something has changed.
    """
    if choice is not None:
        problem = choice.problem(now)
        return warn([problem] if problem else [])
    if not chosen_rows:
        return []
    return warn(
        [
            "the policy's setting was chosen before this change: the choice no longer stands; "
            "choose again with `tradeoff`, on rows not used before"
        ]
    )


def warn(warnings: List[str]) -> List[str]:
    """Print warnings to standard error, and return them."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return warnings
