"""The rivals that run no transformer: what they learn, and what their processes are given."""

from pathlib import Path
from typing import List, Tuple

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.benchmark.contenders import Contender, open_contender
from sledgehammer.benchmark.word_fitting import KINDS, fit_words
from sledgehammer.benchmark.words import StaticEmbeddings, TfIdf, WordClassifier, unit_length

GOOD = "great lovely fine splendid charming".split()
BAD = "awful dull poor tedious clumsy".split()


def rows(count: int, seed: int, texts: int = 1) -> Tuple[List[List[str]], np.ndarray]:
    """Rows whose last text has two telling words among others that tell nothing."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, count)
    made = []
    for own in label:
        telling = random.choice(GOOD if own else BAD, 2)
        words = [*telling, *random.choice("film plot actor scene music".split(), 3)]
        made.append([*["about this film"] * (texts - 1), " ".join(random.permutation(words))])
    return made, label


@pytest.mark.parametrize("texts", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rival_learns_what_words_tell(kind: str, texts: int, tmp_path: Path) -> None:
    if kind.startswith("static"):
        pytest.importorskip("wordllama")
    classifier = fit_words(kind, *rows(200, 0, texts), labels=3)
    held_out, label = rows(100, 1, texts)
    logits = classifier.logits(held_out)
    assert logits.shape == (100, 3)
    assert (logits.argmax(axis=1) == label).mean() > 0.95
    assert logits[:, 2].max() < logits[:, :2].min(), "no training row has the third label"
    classifier.save(tmp_path / "rival")
    np.testing.assert_array_equal(WordClassifier.load(tmp_path / "rival").logits(held_out), logits)
    contender = open_contender(Contender("rival", "words", str(tmp_path / "rival")), threads=1)
    inputs = contender.tokenise(held_out)
    np.testing.assert_allclose(classifier.logits_of(inputs), logits)
    contender.run(inputs)
    assert contender.lengths([["four", "5"]]) == [5]


def test_characters_know_words_that_training_rows_had_in_other_forms() -> None:
    learned, label = rows(200, 0)
    held_out = [[" ".join(word + "ness" for word in words)] for words in (GOOD, BAD)]
    with_characters = fit_words("TF-IDF of words and characters", learned, label, 2)
    assert with_characters.logits(held_out).argmax(axis=1).tolist() == [1, 0]
    words_alone = fit_words("TF-IDF of words", learned, label, 2).logits(held_out)
    np.testing.assert_array_equal(words_alone[0], words_alone[1])


def test_each_text_of_a_pair_has_features_of_its_own() -> None:
    features = TfIdf(characters=False)
    fitted = features.fit([["one two", "three"]] * 2)
    swapped = features.transform([["three", "one two"]])
    assert fitted.shape == (2, 4) and swapped.nnz == 0


def test_static_embeddings_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wordllama")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it reached out"))
    features = StaticEmbeddings().transform([["a film"], [""]])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [1.0, 0.0], rtol=1e-5)


def test_unit_length_of_nothing() -> None:
    np.testing.assert_array_equal(
        unit_length(np.array([[np.nan, 0.0], [3, 4]])), [[0, 0], [0.6, 0.8]]
    )


@pytest.mark.parametrize("count, label", [(19, [0, 1] * 9 + [0]), (30, [1] * 30)])
def test_too_few_rows_or_labels_are_refused(count: int, label: List[int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 20 training rows, of two labels"):
        fit_words("TF-IDF of words", rows(count, 0)[0], np.array(label), 2)
