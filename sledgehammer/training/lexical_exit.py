"""Fit a model's lexical exit to labelled rows."""

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
    training: LabelledRows,
    validation: LabelledRows,
) -> FittedModel:
    """Fit a model's lexical exit.

    # Parameters

    model : `ExitClassifier`
        A model with a lexical exit.
    reader : `TransformerReader`
        The model's reader.
    training, validation : `LabelledRows`
        Rows to learn from, and others to choose the strength of the regularisation on.

    # Returns

    The fitted linear model, which is now the exit's, and how the other strengths did.

    # Raises

    `ConfigurationError` if there are no rows, or all training rows have the same label.
    """
    assert model.lexical is not None, "there is no lexical exit"
    fitted = fit(
        model.lexical.space_for(len(reader.fields)),
        training,
        validation,
        len(model.labels),
        min_rows=model.lexical.min_rows,
    )
    model.lexical.linear = fitted.model
    return fitted


def fit_before_training(model: ExitClassifier, trainer: GradientDescentTrainer) -> None:
    """Fit the lexical exit to the labelled rows that a training run is about to learn from.

    Each worker of a distributed run fits it to all rows, with the same result.

    # Raises

    `ConfigurationError` if there are no validation rows, a label is unknown, or a reader does not
    provide what the exit needs.
    """
    if trainer._validation_data_loader is None:
        raise ConfigurationError(
            "the lexical exit needs rows to choose its regularisation on: give a "
            "validation_data_path"
        )
    training = _rows_of(trainer.data_loader)
    validation = _rows_of(trainer._validation_data_loader)
    reader, _ = next(_sources(trainer.data_loader))
    fitted = fit_lexical_exit(
        model,
        reader,
        labelled_rows(model, reader, training),
        labelled_rows(model, reader, validation),
    )
    best = next(trial for trial in fitted.trials if trial.strength == fitted.strength)
    logger.info(
        "Lexical exit: C = %g, accuracy %.3f on the validation rows.", best.strength, best.accuracy
    )


def _sources(loader: Any) -> Iterator[Tuple[TransformerReader, Iterator[Row]]]:
    return sources(getattr(loader, "reader", None), getattr(loader, "data_path", None))


def _rows_of(loader: Any) -> List[Row]:
    """Return the rows that a data loader reads, or raise if the exit can't read their pieces."""
    all_rows: List[Row] = []
    for reader, rows in _sources(loader):
        if not reader.lexical:
            raise ConfigurationError(
                "the model has a lexical exit, which reads the word pieces of whole texts: give "
                'every dataset reader "lexical": true'
            )
        all_rows += rows
    return all_rows


def labelled_rows(
    model: ExitClassifier, reader: TransformerReader, rows: Sequence[Row]
) -> LabelledRows:
    """Return the word pieces and the labels of the rows that have a label."""
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
