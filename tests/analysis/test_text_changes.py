"""Each change is a small one, and what cannot be changed stays as it is."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.analysis.text_changes import (
    NEIGHBOURS,
    Appended,
    Synonyms,
    changed,
    mistyped,
    words_of,
)

TEXTS = st.text(st.sampled_from("abz A,'é9ß字 "), max_size=30)


@given(TEXTS, st.integers())
def test_a_typo_is_one(text: str, seed: int) -> None:
    new = mistyped(text, random.Random(seed))
    assert new == mistyped(text, random.Random(seed))
    if len(new) == len(text):
        differing = [i for i, (a, b) in enumerate(zip(text, new)) if a != b]
        swapped = len(differing) == 2 and sorted(new) == sorted(text)
        assert swapped or len(differing) <= 1
        assert all(differing[0] + 1 == i for i in differing[1:])
    else:
        assert any(text[:i] + text[i + 1 :] == new for i in range(len(text)))
    assert [len(w) > 2 for w in words_of(text)].count(True) or new == text


def test_all_three_typos_are_made() -> None:
    made = {mistyped("Sit", random.Random(seed)) for seed in range(200)}
    assert {"iSt", "Sti", "it", "St", "Si"} < made
    assert {"Dit", "Sir", "Sut"} < made and "sit" not in made, "beside S is D, not d"


def test_keys_are_neighbours_both_ways() -> None:
    assert all(a in NEIGHBOURS[b] for a, others in NEIGHBOURS.items() for b in others)
    assert set(NEIGHBOURS["g"]) == set("ftyhvb") and set(NEIGHBOURS["q"]) == set("wa")


def test_similar_words_take_over_capitals() -> None:
    change = Synonyms({"film": ["movie"], "Rome": ["Paris"], "none": []})
    new = {change("A Film, a FILM of film: none", random.Random(seed)) for seed in range(40)}
    assert new == {
        "A Movie, a FILM of film: none", "A Film, a MOVIE of film: none",
        "A Film, a FILM of movie: none",
    }  # fmt: skip
    assert change("in Rome", random.Random(0)) == "in Paris"
    assert change("nothing known", random.Random(0)) == "nothing known"


def test_a_word_is_appended() -> None:
    assert Appended(["bees"])("a story \n", random.Random(0)) == "a story bees"
    assert Appended([])("a story", random.Random(0)) == "a story"


def test_one_text_of_a_pair_changes() -> None:
    change = Appended(["x"])
    pairs = {changed(("a", "b"), change, random.Random(seed)) for seed in range(20)}
    assert pairs == {("a x", "b"), ("a", "b x")}
