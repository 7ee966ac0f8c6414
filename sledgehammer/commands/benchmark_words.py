"""Collect the rivals of `allennlp benchmark` that run no transformer, and their accuracy."""

import argparse
import importlib.util
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.analysis.all_exits import fingerprints, label_indices
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.word_fitting import KINDS, fit_words
from sledgehammer.commands.base import rows_at
from sledgehammer.commands.seen_rows import warn
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine.manifest import is_engine
from sledgehammer.model.archives import Opened
from sledgehammer.policies import ConfidencePolicy

WORD_RIVALS: Dict[str, List[str]] = {
    "linear": [kind for kind in KINDS if kind.startswith("TF-IDF")],
    "static": [kind for kind in KINDS if kind.startswith("static")],
}
"""The kinds of features of each `--rival`."""

LEXICAL = "lexical exit alone"
_INSTALL_STATIC = (
    "static embeddings need wordllama (Python 3.11 or later): "
    "pip install 'allennlp-sledgehammer[static]'"
)
_GIVE_ROWS = "give --training-data DATA, the rows that they are fitted to"


class WordRivals(NamedTuple):
    """Hold the rivals with their points, why others are missing by name, and warnings."""

    points: Dict[Contender, Point]
    missing: Dict[str, str]
    warnings: List[str]


def add_word_rivals(group: Any) -> None:
    """Add the options that ask for rivals without a transformer to a group of arguments."""
    group.add_argument(
        "--rival", action="append", default=[], choices=list(WORD_RIVALS), dest="rivals",
        help="also fit and time rivals that run no transformer (repeatable). linear: the model's "
        "own lexical exit alone, if it has one, and logistic regression on scikit-learn's TF-IDF; "
        "static: logistic regression on static embeddings",
    )  # fmt: skip
    group.add_argument(
        "--training-data", metavar="DATA",
        help="the labelled rows that these rivals are fitted to, read like the archive's DATA",
    )  # fmt: skip


def check_word_rivals(arguments: argparse.Namespace) -> None:
    """Check the options of `add_word_rivals` before anything is opened.

    # Raises

    `ConfigurationError` if a rival is asked for that can't be had.
    """
    for name in arguments.rivals:
        if reason := _why_missing(name, arguments.training_data):
            raise ConfigurationError(f"--rival {name}: {reason}")


def _why_missing(name: str, training_data: Optional[str]) -> Optional[str]:
    if name == "static" and importlib.util.find_spec("wordllama") is None:
        return _INSTALL_STATIC
    return None if training_data else _GIVE_ROWS


def choose_word_rivals(
    arguments: argparse.Namespace, opened: Dict[str, Opened], rows: List[Row], folder: Path
) -> WordRivals:
    """Fit the requested rivals, and write them to `folder`.

    # Parameters

    opened : `Dict[str, Opened]`
        The models to be timed, by path.
    rows : `List[Row]`
        Those that accuracies are reported on.
    """
    names = [name for name in WORD_RIVALS if arguments.all_rivals or name in arguments.rivals]
    reasons = {name: _why_missing(name, arguments.training_data) for name in names}
    missing = {name: reason for name, reason in reasons.items() if reason}
    rivals = _lexical_exit(arguments, opened, rows) if "linear" in names else {}
    warnings: List[str] = []
    kinds = [kind for name in names if name not in missing for kind in WORD_RIVALS[name]]
    if kinds:
        first = opened[arguments.archive]
        training = rows_at(arguments.training_data, arguments, first.reader)
        warnings = _warn_of_shared_rows(first, training, rows, arguments.training_data)
        for number, kind in enumerate(kinds):
            rivals.update(_fitted(kind, first, training, rows, folder / f"words-{number}"))
    return WordRivals(rivals, missing, warnings)


def _lexical_exit(
    arguments: argparse.Namespace, opened: Dict[str, Opened], rows: List[Row]
) -> Dict[Contender, Point]:
    """Return the first lexical exit among the models, alone."""
    for path, (model, reader) in opened.items():
        if model.lexical is not None:
            contender = Contender(
                LEXICAL, "engine" if is_engine(path) else "archive", path, max_exit_layer=-1,
                overrides=arguments.overrides, cuda_device=arguments.cuda_device,
            )  # fmt: skip
            logits = model.lexical.logits(reader.pieces(_texts(rows))) / model.temperatures[0]
            return {contender: _point(opened[path], logits.cpu(), _labels(opened[path], rows))}
    return {}


def _fitted(
    kind: str, first: Opened, training: List[Row], rows: List[Row], file: Path
) -> Dict[Contender, Point]:
    classifier = fit_words(
        kind, _texts(training), _labels(first, training).numpy(), len(first.model.labels)
    )
    classifier.save(file)
    logits = torch.from_numpy(classifier.logits(_texts(rows)))
    point = _point(first, logits, _labels(first, rows))
    return {Contender(kind, "words", str(file)): point}


def _point(first: Opened, logits: Tensor, label: Tensor) -> Point:
    """Return the figures of answers without any layer."""
    probs = torch.softmax(logits, dim=1)[:, None]
    full_layers = first.model.full_layers
    return Tradeoff(probs, label, [-1], full_layers, ConfidencePolicy()).single_exits()[0]


def _labels(first: Opened, rows: Sequence[Row]) -> Tensor:
    label = label_indices(first.model, rows)
    assert label is not None, "rows without a label have been refused"
    return label


def _texts(rows: Sequence[Row]) -> List[List[str]]:
    return [list(row.texts) for row in rows]


def _warn_of_shared_rows(
    first: Opened, training: List[Row], rows: List[Row], name: str
) -> List[str]:
    learned = fingerprints(first.reader, training)
    shared = int(torch.isin(fingerprints(first.reader, rows), learned).sum())
    if not shared:
        return []
    return warn(
        [
            f"{shared} of the {len(rows)} rows are also in {name}, which rivals are fitted to: "
            "their accuracy looks better than it is; use other rows"
        ]
    )
