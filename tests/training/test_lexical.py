"""Fitting the linear model of the lexical exit."""

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.lexical import FeatureSpace
from sledgehammer.training.lexical import LabelledRows, fit, inverse_document_frequency, tf_idf

SPACE = FeatureSpace(bits=14)


def rows(count: int, seed: int, labels: int = 2) -> LabelledRows:
    """Texts of random pieces, of which two in three tell the label."""
    random = np.random.default_rng(seed)
    label = random.integers(0, labels, count)
    pieces = []
    for own in label:
        length = random.integers(3, 12)
        telling = random.integers(0, 40, length) * labels + own
        noise = random.integers(0, 40 * labels, length)
        pieces.append([np.where(random.random(length) < 2 / 3, telling, noise).tolist()])
    return LabelledRows(pieces, label)


@pytest.mark.parametrize("labels", [2, 3])
def test_a_model_learns_what_there_is_to_learn(labels: int) -> None:
    fitted = fit(SPACE, rows(600, 0, labels), rows(200, 1, labels), labels)
    held_out = rows(300, 2, labels)
    accuracy = (fitted.model.logits(held_out.pieces).argmax(axis=1) == held_out.label).mean()
    assert accuracy > 0.85
    best = min(fitted.trials, key=lambda trial: trial.nll)
    assert fitted.strength == best.strength and len(fitted.trials) == 5


def test_the_same_rows_give_the_same_model() -> None:
    one, other = (fit(SPACE, rows(100, 0), rows(50, 1), 2, strengths=[3.0]).model for _ in "ab")
    assert np.array_equal(one.table, other.table) and np.array_equal(one.bias, other.bias)


def test_the_model_computes_what_was_fitted() -> None:
    """The table's rows and scikit-learn's are the same features."""
    training = rows(200, 0)
    found = SPACE.features(training.pieces)
    idf = inverse_document_frequency(found.bucket, SPACE.buckets, 200, 2)
    used = np.flatnonzero(idf)
    matrix = tf_idf(found, idf, used, 200)
    np.testing.assert_allclose(matrix.multiply(matrix).sum(axis=1), 1.0)
    model = fit(SPACE, training, training, 2, strengths=[3.0]).model
    weights = model.table[used, 1:].astype(float) / idf[used, None]
    expected = matrix @ weights + model.bias
    np.testing.assert_allclose(model.logits(training.pieces), expected, rtol=1e-4, atol=1e-5)


def test_a_feature_of_too_few_rows_is_left_out() -> None:
    training = LabelledRows([[[1, 1]], [[1]], [[2]], [[3]]], np.array([0, 1, 0, 1]))
    model = fit(FeatureSpace(ngrams=1), training, training, 2, min_rows=2).model
    once = model.space.features([[[2]], [[3]]]).bucket
    assert not model.table[once].any()
    assert model.table[model.space.features([[[1]]]).bucket].any()


def test_a_label_without_training_rows_is_improbable() -> None:
    training = rows(200, 0)
    fitted = fit(SPACE, training, rows(50, 1), labels=3)
    assert (fitted.model.logits(training.pieces).argmax(axis=1) != 2).all()


def test_rows_that_nothing_can_be_fitted_to_are_refused() -> None:
    some = rows(10, 0)
    nothing = LabelledRows([], np.zeros(0, np.int64))
    for training, validation in ((nothing, some), (some, nothing)):
        with pytest.raises(ConfigurationError, match="needs rows"):
            fit(SPACE, training, validation, 2)
    alike = LabelledRows(some.pieces, np.zeros(10, np.int64))
    with pytest.raises(ConfigurationError, match="at least two labels"):
        fit(SPACE, alike, some, 2)
