"""What a card says, in whose format, and when it may be written anew."""

import dataclasses
from pathlib import Path
from typing import Any, Dict

import huggingface_hub
import pytest

from sledgehammer.cards.facts import Facts, name_of, shown_data
from sledgehammer.cards.file import card_text, is_edited, renew, renewed
from sledgehammer.cards.metadata import CardError, Declared
from sledgehammer.engine.manifest import CARD
from sledgehammer.engine.speed import Speed
from sledgehammer.policies import Choice, Conditions
from tests.engine.test_curve import CONDITIONS, curve

CONFIG: Dict[str, Any] = {
    "dataset_reader": {
        "type": "sledgehammer_csv", "model_name": "bert-base-uncased", "max_length": 128,
    },
    "model": {"type": "sledgehammer", "pooling": "mean"},
    "train_data_path": "/home/ann/secret/reviews.csv#train",
    "validation_data_path": "/home/ann/secret/reviews.csv#validation",
}  # fmt: skip
CHOICE = Choice(CONDITIONS, {"max_accuracy_drop": 0.01}, 800, "/home/ann/cal.jsonl", 0.1)
SPEED = Speed(200, 0.002, 0.008, 0.9, {"processor": "A | CPU", "cores": 2})


def facts(**changes: Any) -> Facts:
    known = Facts(
        "reviews", CONFIG, ["bad", "good"], [0, 3], 4, CONDITIONS,
        {"weights": 1234, "temperatures": 567, "threshold": 800},
    )  # fmt: skip
    return dataclasses.replace(known, **changes)


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def front(text: str) -> Dict[str, Any]:
    return huggingface_hub.ModelCard(text).data.to_dict()


def test_what_is_known_is_told() -> None:
    text = card_text(facts(curve=curve(), choice=CHOICE, speed=SPEED), Declared())
    assert "`reviews.csv#train`, read by `sledgehammer_csv`: 1,234 different texts" in text
    assert "`bad`, `good`" in section(text, "Data")
    assert "`bert-base-uncased`, 4 layers" in text and "layers 0, 3 (counted from 0)" in text
    told = section(text, "Curve")
    assert "8 rows of `dev.txt`, none of which trained the model; 8 of them also chose" in told
    assert "| 0.9 | **default** | 70.0% | 0.700 | 3.25 | 1.23x |" in told
    assert "| exit 0 | exit 3 |" in told and "| 50.0% | 75.0% |" in told
    calibration = section(text, "Calibration")
    assert "fitted on 567 rows" in calibration and "| 3 | 2.000 |" in calibration
    guarantee = section(text, "Setting and guarantee")
    assert "With probability at least 0.9, the accuracy lost" in guarantee
    assert "at most 0.01" in guarantee and "The conditions:" in guarantee
    assert "2.0 ms at the setting 0.9, 8.0 ms with all layers (4.0x)" in section(text, "Speed")
    assert "/home" not in text and "secret" not in text, "a path may name people"


def test_front_matter_is_that_of_the_hub() -> None:
    data = front(card_text(facts(curve=curve()), Declared(["en"], "mit", ["ag_news"])))
    assert (data["language"], data["license"], data["datasets"]) == (["en"], "mit", ["ag_news"])
    assert data["library_name"] == "sledgehammer"
    assert data["pipeline_tag"] == "text-classification"
    assert data["base_model"] == "bert-base-uncased"
    (entry,) = data["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "reviews" and result["dataset"]["name"] == "dev.txt"
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["Accuracy at the default setting, on rows that chose the setting"] == 0.7
    assert values["Macro-F1 with all layers, on rows that chose the setting"] == 0.75


def test_nothing_is_invented() -> None:
    bare = facts(
        config={}, labels=[], full_layers=None, used_rows={},
        conditions=Conditions({"type": "confidence", "threshold": 0.9}, [1.0, 1.0], "float32"),
    )  # fmt: skip
    text = card_text(bare, Declared())
    assert set(front(text)) == {"library_name", "pipeline_tag", "tags"}
    for title, words in {
        "Data": "What it was trained on is not known; how many texts is not known",
        "Backbone and exits": "Backbone: not known",
        "Curve": "Not measured on labelled rows.",
        "Calibration": "not fitted",
        "Setting and guarantee": "nothing is guaranteed",
        "Speed": "Not measured.",
        "Limits": "licence is not stated",
    }.items():
        assert words in section(text, title)
    assert "calibrated:" not in text and "Language: not known" in text


@pytest.mark.parametrize(
    "choice, conditions, words",
    [
        (dataclasses.replace(CHOICE, delta=None), CONDITIONS, "nothing is guaranteed of others"),
        (
            CHOICE,
            dataclasses.replace(CONDITIONS, temperatures=[1.0, 1.0]),
            "**The choice no longer stands**: it was made with other temperatures. Its guarantee",
        ),
        (dataclasses.replace(CHOICE, each_exit=True), CONDITIONS, "among the texts of each exit"),
    ],
)
def test_a_guarantee_is_told_only_while_it_holds(
    choice: Choice, conditions: Conditions, words: str
) -> None:
    told = section(
        card_text(facts(choice=choice, conditions=conditions), Declared()), "Setting and guarantee"
    )
    assert words in told
    assert ("With probability at least" in told) is (
        choice.problem(conditions) is None and choice.delta is not None
    )


def test_texts_of_users_are_shown_literally() -> None:
    text = card_text(facts(labels=["a`b", "<b>", "two\nlines"]), Declared())
    assert "`` a`b ``, `<b>`, `two lines`" in text


def test_an_edited_card_is_left_alone(tmp_path: Path) -> None:
    assert renew(tmp_path, facts(), Declared(["de"], "mit"))
    text = (tmp_path / CARD).read_text()
    assert not is_edited(text)
    assert renew(tmp_path, facts(curve=curve())), "as it was written"
    renewed_text = (tmp_path / CARD).read_text()
    assert renewed_text != text and front(renewed_text)["license"] == "mit", (
        "what is declared stays"
    )
    for edited in (f"{renewed_text}More.\n", renewed_text.replace("mit", "gpl-3.0"), "Mine.\n", ""):
        (tmp_path / CARD).write_text(edited)
        assert is_edited(edited) and not renew(tmp_path, facts())
        assert (tmp_path / CARD).read_text() == edited
    (tmp_path / CARD).write_text(renewed_text.replace("license: mit", "license: gpl-3.0"))
    assert renew(tmp_path, facts(), Declared(["fr"]), force=True)
    data = front((tmp_path / CARD).read_text())
    assert (data["language"], data["license"]) == (["fr"], "gpl-3.0")
    assert renewed("---\n[\n---\n", facts(), force=True) is not None
    (tmp_path / CARD).write_bytes(b"\xff")
    with pytest.raises(CardError, match="not UTF-8"):
        renew(tmp_path, facts())


@pytest.mark.parametrize(
    "path, shown",
    [
        ("/home/ann/a.csv#test", "a.csv#test"),
        ("https://ann:word@host.org/d/a.txt?key=1", "https://host.org/d/a.txt"),
        ("imdb", "imdb"),
    ],
)
def test_data_are_named_without_what_may_be_private(path: str, shown: str) -> None:
    assert shown_data(path) == shown


def test_generic_names_give_way_to_the_folder_above(tmp_path: Path) -> None:
    for path in (
        "reviews/engine",
        "reviews/model/engine",
        "reviews/model.tar.gz",
        "reviews.tar.gz",
    ):
        assert name_of(tmp_path / path) == "reviews"


def test_a_folder_is_not_taken_for_a_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/bert").mkdir(parents=True)
    reader = {**CONFIG["dataset_reader"], "model_name": "models/bert"}
    known = facts(config={**CONFIG, "dataset_reader": reader})
    assert known.backbone == "bert" and "base_model" not in front(card_text(known, Declared()))
