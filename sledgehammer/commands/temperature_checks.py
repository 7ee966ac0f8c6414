"""Check what temperatures are fitted to, and what comes out, for the commands that fit them."""

import argparse
import sys
from typing import List

from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.calibration import ROWS_PER_LABEL, TEMPERATURE_BOUNDS, is_at_bound


def add_few_rows(subparser: argparse.ArgumentParser, rows: str = "rows") -> None:
    """Add the option `--few-rows`, with which a command does without `check_enough_rows`.

    # Parameters

    rows : `str`, optional (default = `"rows"`)
        What the help calls the rows that the temperatures are fitted to.
    """
    subparser.add_argument(
        "--few-rows", action="store_true",
        help=f"fit temperatures even if a label has fewer than {ROWS_PER_LABEL} {rows}",
    )  # fmt: skip


def check_enough_rows(label: Tensor, names: List[str]) -> None:
    """Raise a `ConfigurationError` if a label has fewer than `ROWS_PER_LABEL` rows.

    # Parameters

    label : `Tensor`
        Shape (rows,): indices into `names`.
    """
    counts = label.bincount(minlength=len(names)).tolist()
    few = [f"{count} of {name}" for name, count in zip(names, counts) if count < ROWS_PER_LABEL]
    if few:
        raise ConfigurationError(
            f"too few rows to fit temperatures to: {', '.join(few)}; {ROWS_PER_LABEL} of each "
            "label are needed (--few-rows fits them anyway)"
        )


def warn_at_bounds(temperatures: List[float], layers: List[int]) -> List[str]:
    """Warn of each temperature that is at a bound of the search; return the warnings."""
    low, high = TEMPERATURE_BOUNDS
    messages = [
        f"the temperature of the exit at layer {layer} is at the bound of the search "
        f"({low:g} to {high:g}): "
        + (
            "its answers say nothing about these labels"
            if temperature > 1
            else "it answers all of these rows correctly, and becomes certain of every answer"
        )
        for layer, temperature in zip(layers, temperatures)
        if is_at_bound(temperature)
    ]
    for message in messages:
        print(f"warning: {message}", file=sys.stderr)
    return messages
