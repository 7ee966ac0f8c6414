"""Where a transformer comes from."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers import ImdbReader, SstReader
from sledgehammer.network import pretrained
from tests.conftest import TINY_BERT


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pip package that ships weights; importing it would fail."""
    folder = tmp_path / "site/some_weights"
    shutil.copytree(TINY_BERT, folder / "models/tiny")
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return str(folder)


def test_names_and_folders_are_left_alone() -> None:
    assert pretrained.locate("bert-large-uncased") == "bert-large-uncased"
    assert pretrained.locate(TINY_BERT) == TINY_BERT


def test_weights_in_a_package(package: str) -> None:
    name = "package:some_weights/models/tiny"
    assert pretrained.locate(name) == f"{package}/models/tiny"
    assert len(pretrained.load_tokenizer(name)) == 169
    config = pretrained.load_config(name)
    assert pretrained.load_transformer(name, config).config.hidden_size == 16


@pytest.mark.parametrize(
    "name, message",
    [
        ("package:no_such_package_here/model", "no package 'no_such_package_here' is installed"),
        ("package:some_weights/elsewhere", "has no elsewhere/config.json"),
        ("package:", "expected package:NAME/PATH"),
    ],
)
def test_bad_package_names(package: str, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        pretrained.locate(name)


def test_unknown_name() -> None:
    with pytest.raises(ConfigurationError, match="cannot load the transformer 'no/such-model'"):
        pretrained.load_tokenizer("no/such-model")


def test_snapshot_replaces_the_source(tmp_path: Path) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    shutil.copytree(TINY_BERT, source)
    run.mkdir()
    before = SstReader(model_name=str(source), serialization_dir=str(run))
    assert pretrained.snapshot_source(run) == str(source)
    shutil.rmtree(source)
    after = SstReader(model_name=str(source), serialization_dir=str(run))
    text = "a good story about bees"
    ids = [r.text_to_instance(text)["tokens"].input_ids.tolist() for r in (before, after)]
    assert ids[0] == ids[1]
    assert pretrained.load_config(None, run).num_hidden_layers == 4
    assert json.loads((run / "transformer/source.json").read_text())["model_name"] == str(source)
    with pytest.raises(ConfigurationError, match="must use the same transformer"):
        SstReader(model_name=TINY_BERT, serialization_dir=str(run))


def test_half_written_snapshot_never_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import PretrainedConfig

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(PretrainedConfig, "save_pretrained", fails)
    with pytest.raises(OSError, match="disk full"):
        ImdbReader(model_name=TINY_BERT, serialization_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is installed"
)
@pytest.mark.parametrize(
    "model_type, tokenizer, file",
    [
        ("deberta-v2", "DebertaV2Tokenizer", "spm.model"),
        ("xlm-roberta", "XLMRobertaTokenizer", "sentencepiece.bpe.model"),
    ],
)
def test_what_converting_a_tokenizer_needs_is_named(
    model_type: str, tokenizer: str, file: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer}))
    (tmp_path / file).write_bytes(b"a sentencepiece model")
    with pytest.raises(ConfigurationError, match="alone, .* pip install sentencepiece, or add"):
        pretrained.load_tokenizer(str(tmp_path))
