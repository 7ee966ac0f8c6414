"""Classify texts by their words alone: the rivals of exits that run no transformer.

Nothing here imports torch or AllenNLP: the processes that are timed need neither.
"""

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any, List, Protocol, Sequence, Union

import numpy as np
from numpy import ndarray
from scipy import sparse

Texts = Sequence[Sequence[str]]
"""Rows, each of one text or two."""

Matrix = Union[ndarray, sparse.csr_matrix]


class WordFeatures(Protocol):
    """Turn rows into numbers that a linear model takes."""

    def fit(self, rows: Texts) -> Matrix:
        """Learn what there is to learn from training rows, and return their features."""

    def transform(self, rows: Texts) -> Matrix:
        """Return the features of some rows: (rows, features)."""


class TfIdf:
    """Compute scikit-learn's TF-IDF of words and pairs of words, and of characters if wanted.

    The n-grams of characters are those of 2 to 5, within words. Each text of a pair has features
    of its own.

    # Parameters

    characters : `bool`
        Whether n-grams of characters count too.
    """

    def __init__(self, characters: bool) -> None:
        self._characters = characters
        self._vectorizers: List[List[Any]] = []

    def fit(self, rows: Texts) -> sparse.csr_matrix:
        self._vectorizers = [self._for_one_text() for _ in rows[0]]
        return self._stacked(rows, "fit_transform")

    def transform(self, rows: Texts) -> sparse.csr_matrix:
        return self._stacked(rows, "transform")

    def _for_one_text(self) -> List[Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        common = {"sublinear_tf": True, "min_df": 2, "dtype": np.float32}
        vectorizers = [TfidfVectorizer(ngram_range=(1, 2), **common)]
        if self._characters:
            vectorizers.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common))
        return vectorizers

    def _stacked(self, rows: Texts, method: str) -> sparse.csr_matrix:
        parts = [
            getattr(vectorizer, method)(list(texts))
            for vectorizers, texts in zip(self._vectorizers, zip(*rows))
            for vectorizer in vectorizers
        ]
        return parts[0] if len(parts) == 1 else sparse.hstack(parts, format="csr")


class StaticEmbeddings:
    """Compute the mean of a text's static embeddings (WordLlama's, 256 numbers of unit length).

    A pair has those of both texts, and how they differ and agree, number by number.
    """

    def fit(self, rows: Texts) -> ndarray:
        return self.transform(rows)

    def transform(self, rows: Texts) -> ndarray:
        embed = word_llama().embed
        first, *others = (unit_length(embed(list(texts))) for texts in zip(*rows))
        for second in others:
            return np.hstack([first, second, np.abs(first - second), first * second])
        return first


def unit_length(vectors: ndarray) -> ndarray:
    """Scale vectors, (rows, numbers), to unit length; zeros stay zeros."""
    vectors = np.nan_to_num(vectors)  # the mean of a text without word pieces
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@lru_cache(maxsize=1)
def word_llama() -> Any:
    """Return WordLlama's embeddings, from the files of its package: nothing is downloaded.

    # Raises

    `ImportError` if it is not installed.
    """
    import wordllama

    # Its own search for the tokenizer misses the one in the package, and would download it; but
    # a cache has the package's layout.
    package = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=package, disable_download=True)


class WordClassifier:
    """A linear model on word features.

    # Parameters

    features : `WordFeatures`
        Fitted.
    weights : `ndarray`
        Shape (labels, features).
    bias : `ndarray`
        Shape (labels,).
    """

    def __init__(self, features: WordFeatures, weights: ndarray, bias: ndarray) -> None:
        self.features = features
        self._weights = np.ascontiguousarray(weights.T, np.float32)
        self._bias = bias.astype(np.float32)

    def logits_of(self, features: Matrix) -> ndarray:
        """Return the logits of some rows, given their features: (rows, labels)."""
        return features @ self._weights + self._bias

    def logits(self, rows: Texts) -> ndarray:
        """Return the logits of some rows: (rows, labels)."""
        return self.logits_of(self.features.transform(rows))

    def save(self, file: Path) -> None:
        """Write the classifier for another process of the same run."""
        file.write_bytes(pickle.dumps(self))

    @classmethod
    def load(cls, file: Path) -> "WordClassifier":
        """Read what `save` wrote: only for files that this run itself has written."""
        return pickle.loads(file.read_bytes())
