"""Change texts a little, at random: mistype, replace a word by a similar one, append a word."""

import random
import re
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

Texts = Tuple[str, ...]
"""The texts of a row: one, or the two of a pair."""

Change = Callable[[str, random.Random], str]
"""Return a text with one small change; the same text if there is nothing to change."""

KEYBOARD = ((0.0, "qwertyuiop"), (0.25, "asdfghjkl"), (0.75, "zxcvbnm"))
"""The rows of letters on a keyboard, and how far each is shifted to the right, in keys."""

SHORTEST_MISTYPED = 3
"""Shorter words are not mistyped: too little would be left of them."""

_LETTERS = re.compile(r"[^\W\d_]+")


def changed(texts: Texts, change: Change, draw: random.Random) -> Texts:
    """Return the texts of a row with one change in one of them."""
    position = draw.randrange(len(texts))
    return (*texts[:position], change(texts[position], draw), *texts[position + 1 :])


def words_of(text: str) -> List[str]:
    """Return the words of a text, without punctuation and numbers."""
    return _LETTERS.findall(text)


def mistyped(text: str, draw: random.Random) -> str:
    """Return the text with one typo: two letters swapped, one left out, or a neighbouring key."""
    words = [m for m in _LETTERS.finditer(text) if len(m[0]) >= SHORTEST_MISTYPED]
    if not words:
        return text
    word = draw.choice(words)
    typo = draw.choice((_swapped, _shortened, _beside))
    return text[: word.start()] + typo(word[0], draw) + text[word.end() :]


class Synonyms:
    """Replace one word of a text by a similar one, which takes over its capital letters.

    # Parameters

    similar : `Mapping[str, Sequence[str]]`
        The words that may replace a word; see `similar_words`.
    """

    def __init__(self, similar: Mapping[str, Sequence[str]]) -> None:
        self._similar = similar

    def __call__(self, text: str, draw: random.Random) -> str:
        words = [m for m in _LETTERS.finditer(text) if self._of(m[0])]
        if not words:
            return text
        word = draw.choice(words)
        other = _in_the_case_of(word[0], draw.choice(self._of(word[0])))
        return text[: word.start()] + other + text[word.end() :]

    def _of(self, word: str) -> Sequence[str]:
        return self._similar.get(word) or self._similar.get(word.lower()) or ()


class Appended:
    """Append one word to a text.

    # Parameters

    words : `Sequence[str]`
        The words to choose from.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def __call__(self, text: str, draw: random.Random) -> str:
        return f"{text.rstrip()} {draw.choice(self._words)}" if self._words else text


def _swapped(word: str, draw: random.Random) -> str:
    places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    if not places:
        return word
    i = draw.choice(places)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _shortened(word: str, draw: random.Random) -> str:
    i = draw.randrange(len(word))
    return word[:i] + word[i + 1 :]


def _beside(word: str, draw: random.Random) -> str:
    places = [i for i, letter in enumerate(word) if letter.lower() in NEIGHBOURS]
    if not places:
        return word
    i = draw.choice(places)
    key = draw.choice(NEIGHBOURS[word[i].lower()])
    return word[:i] + (key.upper() if word[i].isupper() else key) + word[i + 1 :]


def _in_the_case_of(word: str, other: str) -> str:
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[0].isupper() else other


def _neighbouring_keys() -> Dict[str, str]:
    """Return the letters whose keys touch that of each letter."""
    places = {
        letter: (shift + column, float(row))
        for row, (shift, letters) in enumerate(KEYBOARD)
        for column, letter in enumerate(letters)
    }
    return {
        letter: "".join(
            other
            for other, (u, v) in places.items()
            if other != letter and (x - u) ** 2 + (y - v) ** 2 < 1.6
        )
        for letter, (x, y) in places.items()
    }


NEIGHBOURS = _neighbouring_keys()
