"""Decide on which rows `allennlp benchmark` chooses thresholds, and on which it reports."""

import argparse
from typing import Dict, List, NamedTuple

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import fingerprints
from sledgehammer.commands.base import rows_at
from sledgehammer.commands.seen_rows import warn, warn_of_used_rows
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.model.archives import Opened
from sledgehammer.model.fitted_rows import PURPOSES


class Parts(NamedTuple):
    """Hold the rows to report on, the rows to choose thresholds on, and the name of the latter."""

    reported: List[Row]
    chosen_on: List[Row]
    name: str


def read_parts(arguments: argparse.Namespace, reader: TransformerReader) -> Parts:
    """Read the data, and split it if thresholds are to be chosen and there is no `--choose-on`.

    A split leaves no text in both parts.

    # Raises

    `ConfigurationError` if there are too few rows to split.
    """
    rows = rows_at(arguments.data, arguments, reader)
    if arguments.choose_on:
        chosen_on = rows_at(arguments.choose_on, arguments, reader)
        return Parts(rows, chosen_on, arguments.choose_on)
    if arguments.settings:
        return Parts(rows, rows, arguments.data)
    return _split(arguments.data, rows)


def _split(data: str, rows: List[Row]) -> Parts:
    """Split rows in two by every second text, so that all rows of one text stay together."""
    texts: Dict[str, int] = {}
    for row in rows:
        texts.setdefault("\n".join(row.texts), len(texts))
    sides = [texts["\n".join(row.texts)] % 2 for row in rows]
    reported, chosen_on = ([r for r, s in zip(rows, sides) if s == side] for side in (0, 1))
    if not chosen_on:
        raise ConfigurationError(
            f"{data!r} has too few rows to choose thresholds on some and report on the others: "
            "give --choose-on DATA, or --thresholds"
        )
    print(
        f"no --choose-on: thresholds are chosen on {len(chosen_on)} of the {len(rows)} rows of "
        f"{data} (every second text); all figures are for the other {len(reported)}\n"
    )
    return Parts(reported, chosen_on, f"{len(chosen_on)} rows of {data} that are not reported on")


def used_row_warnings(
    opened: Dict[str, Opened], parts: Parts, arguments: argparse.Namespace
) -> List[str]:
    """Warn if rows of the report were used to make a model or to choose the thresholds.

    # Returns

    The warnings.
    """
    first = next(iter(opened.values()))
    hashes = fingerprints(first.reader, parts.reported)
    warnings = []
    for path, (model, _) in opened.items():
        consequence = f"the accuracy of {path} looks better than it is; use other rows"
        warnings += warn_of_used_rows(model.seen, hashes, dict.fromkeys(PURPOSES, consequence))
    if arguments.choose_on and not arguments.settings:
        chosen_on = set(fingerprints(first.reader, parts.chosen_on).tolist())
        if shared := sum(value in chosen_on for value in hashes.tolist()):
            warnings += warn(
                [
                    f"{shared} of the {len(hashes)} rows are also in {parts.name}, on which the "
                    "thresholds are chosen: accuracies look better than they are; use other rows"
                ]
            )
    return warnings
