"""Warn of rows that were used to make a model, leave them out, or refuse them."""

import argparse
import sys
from typing import Dict, List, Optional

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.analysis.all_exits import fingerprints
from sledgehammer.dataset_readers.base import Row
from sledgehammer.model.archives import Opened
from sledgehammer.model.fitted_rows import PURPOSES, SeenRows
from sledgehammer.policies import Choice, Conditions

VERBS = {
    "weights": "train the model",
    "temperatures": "fit the temperatures",
    "threshold": "choose the threshold",
}
"""For each of `PURPOSES`, what rows were used to do, in words."""


def add_seen_rows(group: "argparse._ArgumentGroup") -> None:
    """Add the option `--seen-rows` to a group: what to do with rows that made the model."""
    group.add_argument(
        "--seen-rows", choices=["refuse", "skip", "use"],
        help="rows of DATA that trained the model, fitted its temperatures or chose its setting: "
        "refuse them (the default with --delta), skip them, or use them anyway (the default "
        "without --delta; with --delta it voids the guarantee)",
    )  # fmt: skip


def allowed_rows(arguments: argparse.Namespace, opened: Opened, rows: List[Row]) -> List[Row]:
    """Return the rows that a command may use, according to its `--seen-rows`.

    # Raises

    `ConfigurationError` if rows are to be refused, or if none is left.
    """
    action = arguments.seen_rows or ("use" if arguments.delta is None else "refuse")
    if action == "use":
        return rows
    hashes = fingerprints(opened.reader, rows)
    counts = {name: opened.model.seen.overlap(name, hashes) for name in PURPOSES}
    if not any(counts.values()):
        return rows
    uses = _uses_in_words(counts, len(rows))
    if action == "refuse":
        reason = "a guarantee needs rows that" if arguments.delta else "give rows that"
        raise ConfigurationError(
            f"{uses}: {reason} had no part in the model. Give other rows, --seen-rows skip to "
            "leave these out, or --seen-rows use to use them"
            + (", without the guarantee" if arguments.delta else "")
        )
    used = torch.stack([opened.model.seen.among(name, hashes) for name in PURPOSES]).any(dim=0)
    return [rows[i] for i in leave_out(used, uses)]


def leave_out(used: Tensor, uses: str) -> List[int]:
    """Return the positions of rows that were not used, and print how many are left out, if any.

    # Parameters

    used : `Tensor`
        Shape (rows,), bool.
    uses : `str`
        How many rows were used, and what for.

    # Raises

    `ConfigurationError` if none is left.
    """
    unused: List[int] = (~used).nonzero().flatten().tolist()
    if not unused:
        raise ConfigurationError(f"{uses}: none is left; give other rows")
    if len(unused) < len(used):
        print(f"left out {len(used) - len(unused)} of {len(used)} rows: {uses}\n")
    return unused


def _uses_in_words(counts: Dict[str, int], rows: int) -> str:
    uses = [f"{count} to {VERBS[name]}" for name, count in counts.items() if count]
    return f"of the {rows} rows of DATA were used: " + ", ".join(uses)


def warn_of_used_rows(seen: SeenRows, hashes: Tensor, consequences: Dict[str, str]) -> List[str]:
    """Warn of rows that were used to make a model.

    # Parameters

    seen : `SeenRows`
        The rows that the model remembers.
    hashes : `Tensor`
        Fingerprints of the rows (see `row_hashes`).
    consequences : `Dict[str, str]`
        For each of `PURPOSES` that matters: what the user should know or do.

    # Returns

    The warnings.
    """
    warnings = []
    for name, consequence in consequences.items():
        if overlap := seen.overlap(name, hashes):
            warnings.append(
                f"{overlap} of the {len(hashes)} rows were also used to {VERBS[name]}: "
                f"{consequence}"
            )
    return warn(warnings)


def warn_of_stale_choice(
    choice: Optional[Choice], conditions: Conditions, chosen_rows: int
) -> List[str]:
    """Warn if the policy's setting was chosen for a model that has changed since.

    Call this after a change of the model.

    # Parameters

    choice : `Choice`, optional
        How the setting was chosen, if that was recorded.
    conditions : `Conditions`
        What the model is now.
    chosen_rows : `int`
        How many rows are remembered as those that the setting was chosen on. Older versions
        recorded nothing else.
    """
    if choice is not None:
        problem = choice.problem(conditions)
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
