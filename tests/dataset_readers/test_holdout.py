"""The held-out part of a training file."""

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers.holdout import held_out_positions, split_path


def test_the_choice_is_the_same_everywhere() -> None:
    texts = [f"text {number}" for number in range(10)]
    assert held_out_positions(texts, 3) == {3, 6, 7}


def test_equal_texts_stay_together() -> None:
    texts = ["same"] * 4 + [f"other {number}" for number in range(4)]
    assert held_out_positions(texts, 2) <= {4, 5, 6, 7}
    with pytest.raises(ConfigurationError, match="can't be met"):
        held_out_positions(["same"] * 5, 2)


@pytest.mark.parametrize("size", [0, 5, -1])
def test_bad_sizes(size: int) -> None:
    with pytest.raises(ConfigurationError, match="between 1 and 4"):
        held_out_positions(list("abcde"), size)


def test_paths() -> None:
    assert split_path("a#b.csv#train") == ("a#b.csv", "train")
    assert split_path("a!b#validation") == ("a!b", "validation")
    assert split_path("a#b.csv") == ("a#b.csv", "")
