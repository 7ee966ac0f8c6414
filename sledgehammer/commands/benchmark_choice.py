"""On which rows `allennlp benchmark` chooses thresholds, and on which it reports."""

import argparse
from typing import Dict, List, NamedTuple

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import fingerprints
from sledgehammer.commands.seen_rows import warn, warn_if_seen
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import Opened
from sledgehammer.model.fitted_rows import PURPOSES


class Parts(NamedTuple):
    """Rows to report on, rows to choose thresholds on, and what the latter are called."""

    reported: List[Row]
    chosen_on: List[Row]
    name: str


def read_parts(arguments: argparse.Namespace, reader: TransformerReader) -> Parts:
    """Read the data; the two parts have no text in common, unless no threshold is to be chosen.

    # Raises

    `ConfigurationError` if there are too few rows to split.
    """
    rows = read_rows(reader, arguments.data, arguments.json_lines)
    if arguments.choose_on:
        chosen_on = read_rows(reader, arguments.choose_on, arguments.json_lines)
        return Parts(rows, chosen_on, arguments.choose_on)
    if arguments.settings:
        return Parts(rows, rows, arguments.data)
    return _split(arguments.data, rows)


def _split(data: str, rows: List[Row]) -> Parts:
    """Split rows by turns, those of one text together."""
    texts: Dict[str, int] = {}
    for row in rows:
        texts.setdefault("\n".join(row.texts), len(texts))
    sides = [texts["\n".join(row.texts)] % 2 for row in rows]
    reported, chosen_on = ([r for r, s in zip(rows, sides) if s == side] for side in (0, 1))
    if not chosen_on:
        raise ConfigurationError(
            f"{data!r} has too few rows to choose thresholds on some of them and report on "
            "others: give --choose-on DATA, or --thresholds"
        )
    print(
        f"no --choose-on: thresholds are chosen on {len(chosen_on)} of the {len(rows)} rows of "
        f"{data}, every second text, and all figures are those of the other {len(reported)}\n"
    )
    return Parts(reported, chosen_on, f"{len(chosen_on)} rows of {data} that are not reported on")


def seen_row_warnings(
    opened: Dict[str, Opened], parts: Parts, arguments: argparse.Namespace
) -> List[str]:
    """Warn of rows reported on that had a part in a model, or that thresholds are chosen on.

    # Returns

    The warnings, each once.
    """
    first = next(iter(opened.values()))
    hashes = fingerprints(first.reader, parts.reported)
    warnings = []
    for path, (model, _) in opened.items():
        flatter = f"the accuracy of {path} flatters; use other rows"
        warnings += warn_if_seen(model, hashes, dict.fromkeys(PURPOSES, flatter))
    if arguments.choose_on and not arguments.settings:
        chosen_on = set(fingerprints(first.reader, parts.chosen_on).tolist())
        if shared := sum(value in chosen_on for value in hashes.tolist()):
            warnings += warn(
                [
                    f"{shared} of the {len(hashes)} rows are also in {parts.name}, on which the "
                    "thresholds are chosen: the accuracies flatter; use other rows"
                ]
            )
    return warnings
