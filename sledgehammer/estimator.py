"""Fit and use models as scikit-learn does."""

import tempfile
from pathlib import Path
from typing import Any, List, Optional, Sequence

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sledgehammer.api import Classifier, fit, load
from sledgehammer.dataset_readers.columns import label_name


class SledgehammerClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of texts with early exits, for `Pipeline`, `GridSearchCV` and their like.

    Pickles hold the path of the model, not the model.

    After `fit`, `classes_` holds the labels, in the order of `predict_proba`'s columns, and `path_` names the
    exported model.

    # Parameters

    backbone, objective, minutes, epochs, max_accuracy_drop, delta, class_weights : optional
        See `sledgehammer.fit`.
    threshold : `float`, optional
        To answer by, in place of the one that is chosen with a guarantee.
    output : `str`, optional
        Where models go, each into a folder of its own; a temporary folder if `None`.
    """

    def __init__(
        self,
        backbone: Optional[str] = None,
        objective: Optional[str] = None,
        minutes: Optional[float] = None,
        epochs: Optional[int] = None,
        max_accuracy_drop: float = 0.01,
        delta: float = 0.1,
        class_weights: Any = None,
        threshold: Optional[float] = None,
        output: Optional[str] = None,
    ) -> None:
        self.backbone = backbone
        self.objective = objective
        self.minutes = minutes
        self.epochs = epochs
        self.max_accuracy_drop = max_accuracy_drop
        self.delta = delta
        self.class_weights = class_weights
        self.threshold = threshold
        self.output = output

    def fit(self, X: Any, y: Any) -> "SledgehammerClassifier":
        """Train on texts, (rows,) or a single column, and their labels, (rows,)."""
        texts, labels = as_texts(X), np.asarray(y)
        if self.output is not None:
            Path(self.output).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="sledgehammer-", dir=self.output))
        model = fit(
            texts, labels.tolist(), folder / "fit", backbone=self.backbone,
            objective=self.objective, minutes=self.minutes, epochs=self.epochs,
            max_accuracy_drop=self.max_accuracy_drop, delta=self.delta,
            class_weights=self.class_weights,
        )  # fmt: skip
        self.path_ = str(model.path)
        self.classes_ = np.unique(labels)
        self._model = model
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the calibrated probabilities of the classes: (rows, classes)."""
        names = [label_name(label) for label in self.classes_.tolist()]
        answers = self._answers(X)
        return np.array([[a["probs"].get(n, 0.0) for n in names] for a in answers]).reshape(
            len(answers), len(names)
        )

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each text: (rows,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def exit_layers(self, X: Any) -> np.ndarray:
        """Return the layer whose exit answered each text: (rows,); -1 before the first layer."""
        return np.array([answer["exit_layer"] for answer in self._answers(X)])

    def _answers(self, X: Any) -> List[Any]:
        check_is_fitted(self, "path_")
        return self.model_.predict(as_texts(X), self.threshold)

    @property
    def model_(self) -> Classifier:
        """The fitted model, opened."""
        if getattr(self, "_model", None) is None:
            self._model = load(self.path_)
        return self._model

    def __getstate__(self) -> Any:
        return {name: value for name, value in super().__getstate__().items() if name != "_model"}


def as_texts(X: Any) -> Sequence[str]:
    """Return texts as a list.

    # Raises

    `ValueError` unless they are strings, one a row.
    """
    if isinstance(X, str):
        raise ValueError("expected an array of texts, got one text")
    if hasattr(X, "to_numpy"):  # pandas: iterating over a frame gives its columns
        X = X.to_numpy()
    rows = list(X)
    if rows and getattr(X, "ndim", 1) == 2 and len(rows[0]) == 1:
        rows = [row[0] for row in rows]
    for number, text in enumerate(rows, start=1):
        if not isinstance(text, str):
            raise ValueError(f"text {number} must be a string, got {type(text).__name__}")
    return [str(text) for text in rows]
