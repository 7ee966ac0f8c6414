"""Opening archives with clear errors, and writing changed copies of them."""

import hashlib
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

import torch
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.models import Archive, load_archive
from torch import Tensor

# `dataset_readers` and `multi_exit` register the classes that an archive names.
from sledgehammer import dataset_readers  # noqa: F401
from sledgehammer.dataset_readers.base import TransformerReader
from sledgehammer.engine.manifest import EngineError, is_engine
from sledgehammer.engine.manifest import read as read_manifest
from sledgehammer.model import multi_exit  # noqa: F401
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.exported import load_exported
from sledgehammer.support.downloads import cached
from sledgehammer.support.files import check_folder, replacing

_CONFIG = "config.json"
_WEIGHTS = "weights.th"
# Older torch has no safe mode; it is only met on the stock stack.
_SAFELY = {"weights_only": True} if hasattr(torch.serialization, "add_safe_globals") else {}


class Opened(NamedTuple):
    """A loaded archive."""

    model: ExitClassifier
    reader: TransformerReader


def open_archive(path: str, cuda_device: int = -1, overrides: str = "") -> Opened:
    """Load model and reader of an archive, or of an exported model.

    # Raises

    `ConfigurationError` if there is no archive, or it is no sledgehammer model's.
    """
    check_for_gpu(cuda_device)
    file = path if is_engine(path) else str(archive_file(path))
    try:
        archive = load(file, cuda_device=cuda_device, overrides=overrides)
    except (tarfile.TarError, EOFError, KeyError, OSError) as error:
        raise ConfigurationError(f"{path!r} is no AllenNLP archive, or damaged: {error}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"cannot load {path!r}: {error.message}") from error
    model, reader = archive.model, archive.validation_dataset_reader
    if not isinstance(model, ExitClassifier):
        raise ConfigurationError(
            f"{path!r} holds a model of type {type(model).__name__}; this command is for "
            "sledgehammer models (trained with model.type: sledgehammer)"
        )
    if not isinstance(reader, TransformerReader):
        raise ConfigurationError(
            f"{path!r} was trained with a {type(reader).__name__}; this command needs a reader "
            "built on sledgehammer's (SingleTextReader or TextPairReader)"
        )
    return Opened(model.eval(), reader)


def load(
    path: str, weights_file: Optional[str] = None, cuda_device: int = -1, overrides: str = ""
) -> Archive:
    """AllenNLP's `load_archive`, which here takes the directory of an exported model too.

    # Raises

    `ConfigurationError` for an exported model that is damaged, or where a GPU or other weights
    are asked for.
    """
    if not is_engine(path):
        return load_archive(path, cuda_device, overrides, weights_file)  # type: ignore[arg-type]
    if cuda_device >= 0 or weights_file:
        raise ConfigurationError(
            f"{path!r} is an exported model: it runs on the CPU, with the weights it has"
        )
    return load_exported(Path(path), overrides)


def weights_sha256(path: str) -> str:
    """A fingerprint of an archive's weights."""
    digest = hashlib.sha256()
    with tarfile.open(archive_file(path), "r:*") as archive:
        weights = archive.extractfile(_WEIGHTS)
        assert weights is not None, "a regular file has content"
        while block := weights.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_exported_from(directory: str, archive: str) -> None:
    """Raise a `ConfigurationError` unless an exported model has the weights of an archive."""
    try:
        source = read_manifest(Path(directory)).source
    except EngineError as error:
        raise ConfigurationError(str(error)) from error
    if source["weights_sha256"] != weights_sha256(archive):
        raise ConfigurationError(
            f"{directory!r} was not exported from {archive!r}, but from {source['archive']!r}, "
            "or from other weights under that name"
        )


def archive_file(path: str) -> Path:
    """The local file of an archive: a path, a URL, or a folder with a `model.tar.gz`.

    # Raises

    `ConfigurationError` if there is none.
    """
    try:
        found = cached(path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"no archive at {path!r}: {error}") from error
    if found.is_dir():
        found = found / "model.tar.gz"
        if not found.is_file():
            raise ConfigurationError(f"no archive at {path!r}: the folder has no model.tar.gz")
    return found


def read_member(path: str, name: str) -> bytes:
    """The content of a file within an archive.

    # Raises

    `ConfigurationError` if the archive has no such file.
    """
    with tarfile.open(archive_file(path), "r:*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name == name else None
            if content is not None:
                return content.read()
    raise ConfigurationError(f"{path!r} has no {name}")


def copy_folder(path: str, name: str, directory: Path) -> None:
    """Write the files of a folder within an archive to a folder of that name in `directory`."""
    (directory / name).mkdir()
    with tarfile.open(archive_file(path), "r:*") as archive:
        for member in archive:
            if not member.isfile() or Path(member.name).parent != Path(name):
                continue
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            (directory / member.name).write_bytes(content.read())


def check_target(target: Path, source: str, force: bool) -> None:
    """Raise a `ConfigurationError` if an archive must not be written to `target`, or not from
    `source`: an exported model can't be changed."""
    if is_engine(source):
        raise ConfigurationError(
            f"{source!r} is an exported model, which can't be changed: give the archive that it "
            "was exported from, and export the new one"
        )
    check_folder(target)
    if target.exists():
        if target.samefile(archive_file(source)):
            raise ConfigurationError(f"{str(target)!r} is the old archive: give another name")
        if not force:
            raise ConfigurationError(f"{str(target)!r} exists: give another name, or --force")


def write_changed(
    source: str,
    target: Path,
    weights: Dict[str, Tensor],
    policy: Optional[Dict[str, Any]] = None,
    extra: Optional[Dict[str, bytes]] = None,
    dtype: Optional[str] = None,
) -> None:
    """Write a copy of an archive in which some things are different.

    # Parameters

    source : `str`
    target : `Path`
        See `check_target`. It appears when it is whole.
    weights : `Dict[str, Tensor]`
        Entries of the model's state to put in the place of the old ones.
    policy : `Dict[str, Any]`, optional
        The policy's config, if it changes.
    extra : `Dict[str, bytes]`, optional
        More files, by name; they replace those that are there.
    dtype : `str`, optional
        The number format of inference, if it changes.
    """
    extra = extra or {}
    changes = {_WEIGHTS: lambda old: _changed_weights(old, weights)}
    if policy is not None or dtype is not None:
        changes[_CONFIG] = lambda old: changed_config(old, policy, dtype)
    with (
        replacing(target) as partial,
        tarfile.open(archive_file(source), "r:*") as old,
        tarfile.open(partial, "w:gz") as new,
    ):
        for member in old:
            if member.name in extra:
                continue
            if not member.isfile():
                new.addfile(member)
                continue
            content = old.extractfile(member)
            assert content is not None, "a regular file has content"
            if member.name in changes:
                changed = changes[member.name](content.read())
                member.size = len(changed)
                content = io.BytesIO(changed)
            new.addfile(member, content)
        for name, added in extra.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(added), int(time.time())
            new.addfile(member, io.BytesIO(added))


def _changed_weights(old: bytes, weights: Dict[str, Tensor]) -> bytes:
    state = torch.load(io.BytesIO(old), map_location="cpu", **_SAFELY)
    state.update({name: tensor.cpu() for name, tensor in weights.items()})
    new = io.BytesIO()
    torch.save(state, new)
    return new.getvalue()


def changed_config(
    old: bytes, policy: Optional[Dict[str, Any]], dtype: Optional[str] = None
) -> bytes:
    """An archive's config with another policy or number format of inference."""
    config: Dict[str, Any] = json.loads(old)
    if policy is not None:
        config["model"]["policy"] = policy
    if dtype is not None:
        config["model"]["inference_dtype"] = dtype
    return json.dumps(config, indent=4).encode()
