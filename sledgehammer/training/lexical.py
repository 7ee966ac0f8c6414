"""Fits the linear model of the exit before the first layer, with scikit-learn."""

import warnings
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from numpy import ndarray
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from sledgehammer.calibration import fit_temperature, nll
from sledgehammer.lexical import Features, FeatureSpace, LinearModel, Pieces
from sledgehammer.lexical.linear import GRAIN, LARGEST, tf

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Values of scikit-learn's C that are tried, the strongest regularisation first."""

_ROUNDS = 50
"""Passes over the rows at most; what has not converged by then is good enough."""


class LabelledRows(NamedTuple):
    """Rows of word pieces and their labels.

    # Parameters

    pieces : `Sequence[Pieces]`
    label : `ndarray`
        Shape (rows,), whole numbers from 0.
    """

    pieces: Sequence[Pieces]
    label: ndarray


class Trial(NamedTuple):
    """A model that was fitted with some strength of regularisation, judged on validation rows.

    `nll` is the negative log-likelihood (nats) at the best temperature.
    """

    strength: float
    accuracy: float
    nll: float


class FittedModel(NamedTuple):
    """The best of the models that were fitted, and how all of them did."""

    model: LinearModel
    strength: float
    trials: List[Trial]


def fit(
    space: FeatureSpace,
    training: LabelledRows,
    validation: LabelledRows,
    labels: int,
    strengths: Sequence[float] = STRENGTHS,
    min_rows: int = 2,
) -> FittedModel:
    """Fit a logistic regression for each strength; keep the likeliest on the validation rows.

    The result depends on nothing but the arguments. The solver is SAGA (Defazio et al., NIPS
    2014), whose time grows with the number of features that the rows have, not with all there are.

    # Parameters

    space : `FeatureSpace`
    training, validation : `LabelledRows`
        They should share no rows. Not every label need occur.
    labels : `int`
        How many labels the model tells apart.
    strengths : `Sequence[float]`, optional
        scikit-learn's C, each positive.
    min_rows : `int`, optional (default = `2`)
        A feature that fewer training rows have is left out.

    # Raises

    `ConfigurationError` if there are no rows, or training rows of fewer than two labels.
    """
    if not len(training.label) or not len(validation.label):
        raise ConfigurationError("the lexical exit needs rows to train on, and others to validate")
    if len(np.unique(training.label)) < 2:
        raise ConfigurationError(
            "the lexical exit needs training rows of at least two labels, got one"
        )
    found = space.features(training.pieces)
    idf = inverse_document_frequency(found.bucket, space.buckets, len(training.label), min_rows)
    used = np.flatnonzero(idf)
    rows = tf_idf(found, idf, used, len(training.label))
    best: Optional[Tuple[LinearModel, Trial]] = None
    trials = []
    for strength in strengths:
        weights, bias = fit_weights(saga(strength), rows, training.label, labels)
        model = _made(space, idf, used, weights, bias)
        trials.append(_judged(model, validation, strength))
        if best is None or trials[-1].nll < best[1].nll:
            best = model, trials[-1]
    assert best is not None, "at least one strength is given"
    return FittedModel(best[0], best[1].strength, trials)


def inverse_document_frequency(
    bucket: ndarray, buckets: int, rows: int, min_rows: int = 1
) -> ndarray:
    """Return `ln((1 + rows) / (1 + rows with it)) + 1` of each bucket, 0 of those left out.

    # Parameters

    bucket : `ndarray`
        Shape (features,): each row's own, each once a row.

    # Returns

    Shape (buckets,), float64, rounded to `GRAIN`.
    """
    having = np.bincount(bucket, minlength=buckets)
    idf = np.where(having >= max(min_rows, 1), np.log((1 + rows) / (1 + having)) + 1, 0.0)
    return np.rint(idf / GRAIN) * GRAIN


def tf_idf(features: Features, idf: ndarray, used: ndarray, rows: int) -> sparse.csr_matrix:
    """Return rows of unit length over the buckets that are used: (rows, used), sparse."""
    column = np.full(len(idf), -1)
    column[used] = np.arange(len(used))
    known = idf[features.bucket] > 0
    value = tf(features.times[known]) * idf[features.bucket[known]]
    row = features.row[known]
    value /= np.sqrt(np.bincount(row, value**2, minlength=rows))[row]
    shape = (rows, len(used))
    return sparse.csr_matrix((value, (row, column[features.bucket[known]])), shape=shape)


def saga(strength: float) -> LogisticRegression:
    """Return a regression to be fitted to sparse rows, with scikit-learn's C."""
    return LogisticRegression(C=strength, solver="saga", tol=1e-3, max_iter=_ROUNDS, random_state=0)


def fit_weights(
    regression: LogisticRegression, rows: Any, label: ndarray, labels: int
) -> Tuple[ndarray, ndarray]:
    """Fit a logistic regression to rows, not all labels of which need occur.

    # Parameters

    rows : `ndarray` or `sparse.csr_matrix`
        Shape (rows, features).
    label : `ndarray`
        Shape (rows,), at least two of whole numbers from 0.
    labels : `int`
        How many labels there are.

    # Returns

    Weights (labels, features) and bias (labels,).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(rows, label)
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:  # of two labels scikit-learn gives the difference
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    all_weights = np.zeros((labels, weights.shape[1]))
    # A label that no row has is as improbable as one that one row of all had.
    all_bias = np.full(labels, bias.min() - np.log(1 + len(label)))
    present = regression.classes_
    all_weights[present], all_bias[present] = weights, bias
    return all_weights, all_bias


def _made(
    space: FeatureSpace, idf: ndarray, used: ndarray, weights: ndarray, bias: ndarray
) -> LinearModel:
    table = np.zeros((space.buckets, 1 + len(bias)), np.float16)
    table[:, 0] = idf
    table[used, 1:] = np.clip(weights * idf[used], -LARGEST, LARGEST).T
    return LinearModel(space, table, bias.astype(np.float32))


def _judged(model: LinearModel, validation: LabelledRows, strength: float) -> Trial:
    logits = torch.from_numpy(model.logits(validation.pieces))
    label = torch.from_numpy(np.asarray(validation.label, np.int64))
    accuracy = float((logits.argmax(dim=1) == label).double().mean())
    return Trial(strength, accuracy, nll(logits, label, fit_temperature(logits, label)))
