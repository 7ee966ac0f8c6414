"""Fit the rivals that run no transformer to the rows that a model was trained on."""

from typing import Callable, Dict, Optional, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from numpy import ndarray
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from sledgehammer.benchmark.words import (
    Matrix,
    StaticEmbeddings,
    Texts,
    TfIdf,
    WordClassifier,
    WordFeatures,
)
from sledgehammer.calibration import nll
from sledgehammer.training.lexical import STRENGTHS, fit_weights, saga

KINDS: Dict[str, Callable[[], WordFeatures]] = {
    "TF-IDF of words": lambda: TfIdf(characters=False),
    "TF-IDF of words and characters": lambda: TfIdf(characters=True),
    "static embeddings": StaticEmbeddings,
}
"""The features that a rival may have, by its name in reports."""

_MIN_ROWS = 20


def fit_words(kind: str, rows: Texts, label: ndarray, labels: int) -> WordClassifier:
    """Fit a logistic regression on some kind of features to labelled rows.

    The strength of its regularisation is the likeliest on a tenth of the rows, drawn at random but
    always the same; then it is fitted to all of them.

    # Parameters

    kind : `str`
        One of `KINDS`.
    rows : `Texts`
    label : `ndarray`
        Shape (rows,), whole numbers from 0.
    labels : `int`
        How many there are.

    # Raises

    `ConfigurationError` for fewer than 20 rows, or rows of one label only.
    """
    if len(rows) < _MIN_ROWS or len(np.unique(label)) < 2:
        raise ConfigurationError(
            f"rivals need at least {_MIN_ROWS} training rows, of two labels or more; got "
            f"{len(rows)} rows of {len(np.unique(label))}"
        )
    features = KINDS[kind]()
    matrix = features.fit(rows)
    strength = _likeliest_strength(matrix, label, labels)
    return WordClassifier(features, *_fitted(matrix, label, labels, strength))


def _likeliest_strength(matrix: Matrix, label: ndarray, labels: int) -> float:
    """Return scikit-learn's C; larger ones are not tried after one that is less likely."""
    order = np.random.default_rng(0).permutation(len(label))
    held_out, rest = np.split(order, [max(2, len(label) // 10)])
    if len(np.unique(label[rest])) < 2:
        return 1.0
    best: Optional[Tuple[float, float]] = None
    for strength in STRENGTHS:
        weights, bias = _fitted(matrix[rest], label[rest], labels, strength)
        logits = torch.from_numpy(np.asarray(matrix[held_out] @ weights.T + bias, np.float64))
        surprise = nll(logits, torch.from_numpy(label[held_out]), 1.0)
        if best is not None and surprise > best[0]:
            break
        best = surprise, strength
    assert best is not None, "some strength is tried"
    return best[1]


def _fitted(
    matrix: Matrix, label: ndarray, labels: int, strength: float
) -> Tuple[ndarray, ndarray]:
    # SAGA's time grows with the features that rows have; where all have all, L-BFGS is quicker.
    is_sparse = sparse.issparse(matrix)
    regression = saga(strength) if is_sparse else LogisticRegression(C=strength, max_iter=1000)
    return fit_weights(regression, matrix, label, labels)
