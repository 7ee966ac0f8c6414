"""Similar words come from a model's embeddings, whichever tokenizer it has."""

import numpy as np

from sledgehammer.analysis.similar_words import similar_words, whole_words


def test_whole_words_of_each_tokenizer() -> None:
    wordpiece = {"good": 1, "##good": 2, "##s": 3, "bad": 4, "1990": 5, "great": 6, "▁odd": 7}
    assert whole_words(wordpiece) == {"good": 1, "great": 6}
    byte_level = {"<s>": 0, "Ġgood": 1, "good": 2, "Ġcaf\u00c3\u00a9": 3, "Ġin": 4}
    assert whole_words(byte_level) == {"good": 1}
    sentencepiece = {"<s>": 0, "▁good": 1, "good": 2, "▁café": 3}
    assert whole_words(sentencepiece) == {"good": 1, "café": 3}
    assert whole_words({}) == {} and whole_words({"good": 1}) == {"good": 1}


def test_the_nearest_come_first() -> None:
    words = {"good": 0, "great": 1, "fine": 2, "table": 3, "Good": 4}
    table = np.array([[1, 0], [1, 0.1], [1, 0.5], [-3, -0.6], [1, 0]], np.float32)
    assert similar_words(table, words, ["good", "GREAT", "unknown"]) == {
        "good": ["great", "fine"], "great": ["Good", "good", "fine"],
    }  # fmt: skip
    assert similar_words(table, words, ["table"]) == {}, "nothing is near it"
    assert similar_words(table, {}, ["good"]) == {}
    assert similar_words(np.zeros((5, 2), np.float32), words, ["good"]) == {}


def test_what_all_words_share_says_nothing() -> None:
    words = {"north": 0, "south": 1, "east": 2, "west": 3}
    table = np.array([[0, 1, 9], [0, -1, 9], [1, 0, 9], [-1, 0, 9]], np.float32)
    assert similar_words(table, words, words) == {}, "though every cosine is above 0.9"
