"""Fits a model's lexical exit to labelled rows."""

import logging
from typing import Any, Iterator, List, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError
from allennlp.training import GradientDescentTrainer

from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.model.base import ExitClassifier
from sledgehammer.training.lexical import FittedModel, LabelledRows, fit
from sledgehammer.training.rows import sources

logger = logging.getLogger(__name__)


def fit_lexical_exit(
    model: ExitClassifier,
    reader: TransformerReader,
    training: Sequence[Row],
    validation: Sequence[Row],
) -> FittedModel:
    """Fit a model's lexical exit; rows without a label are passed over.

    # Parameters

    model : `ExitClassifier`
        One that has such an exit.
    reader : `TransformerReader`
        The model's.
    training, validation : `Sequence[Row]`
        Rows to learn from, and others, which choose the strength of the regularisation.

    # Returns

    The fitted model, which the exit has taken over, and how others did.

    # Raises

    `ConfigurationError` if rows are missing, a label is unknown or all have the same.
    """
    assert model.lexical is not None, "there is no lexical exit"
    found = fit(
        model.lexical.space_for(len(reader.fields)),
        _labelled(model, reader, training),
        _labelled(model, reader, validation),
        len(model.labels),
        min_rows=model.lexical.min_rows,
    )
    model.lexical.linear = found.model
    return found


def fit_before_training(model: ExitClassifier, trainer: GradientDescentTrainer) -> None:
    """Fit the lexical exit to the rows that a training run is about to learn from.

    All workers of a distributed run fit it to all rows, with the same result.

    # Raises

    `ConfigurationError` if there are no validation rows, or a reader does not give what the exit
    needs.
    """
    if trainer._validation_data_loader is None:
        raise ConfigurationError(
            "the lexical exit needs rows to choose its regularisation on: give a "
            "validation_data_path"
        )
    training = _rows_of(trainer.data_loader)
    validation = _rows_of(trainer._validation_data_loader)
    reader, _ = next(_sources(trainer.data_loader))
    found = fit_lexical_exit(model, reader, training, validation)
    best = next(trial for trial in found.trials if trial.strength == found.strength)
    logger.info(
        "Lexical exit: C = %g, accuracy %.3f on the validation rows.", best.strength, best.accuracy
    )


def _sources(loader: Any) -> Iterator[Tuple[TransformerReader, Iterator[Row]]]:
    return sources(getattr(loader, "reader", None), getattr(loader, "data_path", None))


def _rows_of(loader: Any) -> List[Row]:
    """Return the rows that a data loader reads, if its readers give what the exit needs."""
    found: List[Row] = []
    for reader, rows in _sources(loader):
        if not reader.lexical:
            raise ConfigurationError(
                "the model has a lexical exit, which reads the word pieces of whole texts: give "
                'every dataset reader "lexical": true'
            )
        found += rows
    return found


def _labelled(
    model: ExitClassifier, reader: TransformerReader, rows: Sequence[Row]
) -> LabelledRows:
    known = model.vocab.get_token_to_index_vocabulary(model.label_namespace)
    rows = [row for row in rows if row.label is not None]
    for row in rows:
        if row.label not in known:
            raise ConfigurationError(
                f"a row has the label {row.label!r}, which the model does not know; it knows "
                + ", ".join(known)
            )
    labels = np.array([known[str(row.label)] for row in rows], np.int64)
    return LabelledRows(reader.pieces([row.texts for row in rows]), labels)
