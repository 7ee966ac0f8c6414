"""Fit the linear model of the exit before the first layer, with scikit-learn."""

import warnings
from typing import Any, List, NamedTuple, Sequence, Tuple

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
"""The values of scikit-learn's C that are tried, strongest regularisation first."""

_ROUNDS = 50
"""The most passes over the rows; a fit that has not converged by then is good enough."""


class LabelledRows(NamedTuple):
    """Hold rows of word pieces and their labels.

    # Parameters

    pieces : `Sequence[Pieces]`
        The word pieces of each row.
    label : `ndarray`
        Shape (rows,), whole numbers from 0.
    """

    pieces: Sequence[Pieces]
    label: ndarray


class Trial(NamedTuple):
    """Say how a model that was fitted with some strength (C) does on the validation rows.

    `accuracy` is in [0, 1]; `nll` is the negative log-likelihood (nats) at the best temperature.
    """

    strength: float
    accuracy: float
    nll: float


class FittedModel(NamedTuple):
    """Hold the best of the fitted models, the strength that it has, and how all of them did."""

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
    """Fit a logistic regression for each strength; keep the one that validation rows favour.

    That is the one with the lowest negative log-likelihood. The result depends on the arguments
    alone. The solver is SAGA (Defazio et al., NIPS 2014), whose time grows with the number of
    features that the rows have, not with the number of all features.

    # Parameters

    space : `FeatureSpace`
    training, validation : `LabelledRows`
        They should share no rows. Not every label need occur.
    labels : `int`
        How many labels the model tells apart.
    strengths : `Sequence[float]`, optional
        scikit-learn's C, each positive; at least one.
    min_rows : `int`, optional (default = `2`)
        Features that fewer training rows have are left out.

    # Raises

    `ConfigurationError` if there are no rows, or training rows of fewer than two labels.
    """
    _check(training, validation)
    idf, vectors = _vectors(space, training, min_rows)
    trials: List[Trial] = []
    for strength in strengths:
        weights, bias = fit_weights(saga(strength), vectors, training.label, labels)
        model = _linear_model(space, idf, weights, bias)
        trial = _judged(model, validation, strength)
        if not trials or trial.nll < min(earlier.nll for earlier in trials):
            best = FittedModel(model, strength, trials)
        trials.append(trial)
    return best


def _check(training: LabelledRows, validation: LabelledRows) -> None:
    """Raise a `ConfigurationError` if there are no rows, or training rows of a single label."""
    if not len(training.label) or not len(validation.label):
        raise ConfigurationError("the lexical exit needs rows to train on, and others to validate")
    if len(np.unique(training.label)) < 2:
        raise ConfigurationError(
            "the lexical exit needs training rows of at least two labels, got one"
        )


def _vectors(
    space: FeatureSpace, training: LabelledRows, min_rows: int
) -> Tuple[ndarray, sparse.csr_matrix]:
    """Return the inverse document frequencies, (buckets,), and the rows as `tf_idf` does."""
    rows = len(training.label)
    features = space.features(training.pieces)
    idf = inverse_document_frequency(features.bucket, space.buckets, rows, min_rows)
    return idf, tf_idf(features, idf, np.flatnonzero(idf), rows)


def inverse_document_frequency(
    bucket: ndarray, buckets: int, rows: int, min_rows: int = 1
) -> ndarray:
    """Return `ln((1 + rows) / (1 + rows with it)) + 1` for each bucket, 0 for those left out.

    # Parameters

    bucket : `ndarray`
        Shape (features,): the buckets of all rows' features, each at most once a row.
    buckets : `int`
        How many buckets there are.
    rows : `int`
        How many rows there are.
    min_rows : `int`, optional (default = `1`)
        Buckets that fewer rows have are left out.

    # Returns

    Shape (buckets,), float64, rounded to `GRAIN`.
    """
    having = np.bincount(bucket, minlength=buckets)
    idf = np.where(having >= max(min_rows, 1), np.log((1 + rows) / (1 + having)) + 1, 0.0)
    return np.rint(idf / GRAIN) * GRAIN


def tf_idf(features: Features, idf: ndarray, used: ndarray, rows: int) -> sparse.csr_matrix:
    """Return the rows' TF-IDF vectors, of unit length, over the used buckets: (rows, used)."""
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
    if len(weights) == 1:  # for two labels scikit-learn returns the difference
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    all_weights = np.zeros((labels, weights.shape[1]))
    # A label that no row has is taken to be as rare as one that a single row had.
    all_bias = np.full(labels, bias.min() - np.log(1 + len(label)))
    present = regression.classes_
    all_weights[present], all_bias[present] = weights, bias
    return all_weights, all_bias


def _linear_model(
    space: FeatureSpace, idf: ndarray, weights: ndarray, bias: ndarray
) -> LinearModel:
    used = np.flatnonzero(idf)
    table = np.zeros((space.buckets, 1 + len(bias)), np.float16)
    table[:, 0] = idf
    table[used, 1:] = np.clip(weights * idf[used], -LARGEST, LARGEST).T
    return LinearModel(space, table, bias.astype(np.float32))


def _judged(model: LinearModel, validation: LabelledRows, strength: float) -> Trial:
    logits = torch.from_numpy(model.logits(validation.pieces))
    label = torch.from_numpy(np.asarray(validation.label, np.int64))
    accuracy = float((logits.argmax(dim=1) == label).double().mean())
    return Trial(strength, accuracy, nll(logits, label, fit_temperature(logits, label)))
