"""Opening archives with clear errors, and writing changed copies of them."""

import glob
import hashlib
import io
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Union

from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.meta import META_NAME
from allennlp.models import Archive, load_archive
from allennlp.models.archival import CONFIG_NAME, get_weights_path
from allennlp.models.model import _DEFAULT_WEIGHTS
from torch import Tensor

# `dataset_readers` and `multi_exit` register the classes that an archive names.
from sledgehammer import dataset_readers  # noqa: F401
from sledgehammer.dataset_readers.base import TransformerReader
from sledgehammer.engine.manifest import EngineError, is_engine
from sledgehammer.engine.manifest import read as read_manifest
from sledgehammer.model import multi_exit  # noqa: F401
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.exported import load_exported
from sledgehammer.model.weights import (
    WeightsError,
    check_weights,
    read_weights,
    write_weights,
)
from sledgehammer.support import tars
from sledgehammer.support.downloads import cached
from sledgehammer.support.files import check_folder, replacing
from sledgehammer.support.owned import scratch_folder

_WEIGHTS = "weights.th"


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
    archive = load(file, cuda_device=cuda_device, overrides=overrides, name=path)
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
    path: str,
    weights_file: Optional[str] = None,
    cuda_device: int = -1,
    overrides: str = "",
    name: Optional[str] = None,
) -> Archive:
    """Do what AllenNLP's `load_archive` does, for the directory of an exported model too.

    The archive is extracted by `tars.extract`, so that nothing is written outside of a temporary
    folder, and no code in its weights is run.

    # Parameters

    name : `str`, optional
        What to call it in errors; `path` by default.

    # Raises

    `ConfigurationError` for what is damaged, or where its parts do not fit together; and for an
    exported model where a GPU or other weights are asked for.
    """
    if is_engine(path):
        if cuda_device >= 0 or weights_file:
            raise ConfigurationError(
                f"{path!r} is an exported model: it runs on the CPU, with the weights it has"
            )
        with _told_as_unloadable(name or path):
            return load_exported(Path(path), overrides)
    file = _local(path)
    with _told_as_unloadable(name or path):
        if file.is_dir():
            return _load_folder(file, weights_file, cuda_device, overrides)
        with scratch_folder() as folder:
            tars.extract(file, folder)
            return _load_folder(folder, weights_file, cuda_device, overrides)


def _load_folder(
    folder: Path, weights_file: Optional[str], cuda_device: int, overrides: str
) -> Archive:
    if not (folder / CONFIG_NAME).is_file():
        raise ConfigurationError(f"it has no {CONFIG_NAME}")
    weights = Path(weights_file or get_weights_path(folder))
    if not weights.is_file():
        raise ConfigurationError(f"no weights: there is no {weights.name}")
    try:
        check_weights(weights)
    except WeightsError as error:
        raise ConfigurationError(f"{weights.name}: {error}") from error
    return load_archive(folder, cuda_device, overrides, weights_file)  # type: ignore[arg-type]


@contextmanager
def _told_as_unloadable(path: str) -> Iterator[None]:
    """Turn whatever is raised while an archive is loaded into a line that names it.

    A config can name any class with any arguments, and weights any tensors, so that what is wrong
    with them shows as nearly any exception.
    """
    try:
        yield
    except tars.ArchiveError as error:
        raise ConfigurationError(f"{path!r} is no AllenNLP archive, or damaged: {error}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"cannot load {path!r}: {_in_a_line(error.message)}") from error
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise ConfigurationError(f"cannot load {path!r}: {told}") from error
    except Exception as error:
        told = _in_a_line(str(error)) or "without a message"
        raise ConfigurationError(f"cannot load {path!r}: {type(error).__name__}, {told}") from error


def _in_a_line(message: str, longest: int = 500) -> str:
    line = " ".join(message.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


@contextmanager
def _told_as_damaged(path: str) -> Iterator[None]:
    try:
        yield
    except tars.ArchiveError as error:
        raise ConfigurationError(f"{path!r} is no AllenNLP archive, or damaged: {error}") from error


def weights_sha256(path: str) -> str:
    """Return a fingerprint of an archive's weights."""
    digest = None
    with _told_as_damaged(path):
        for member in tars.members(archive_file(path)):
            if member.name == _WEIGHTS and member.content is not None:
                digest = hashlib.sha256()
                while block := member.content.read(1 << 20):
                    digest.update(block)
    if digest is None:
        raise ConfigurationError(f"{path!r} has no {_WEIGHTS}")
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
    found = _local(path)
    if found.is_dir():
        found = found / "model.tar.gz"
        if not found.is_file():
            raise ConfigurationError(f"no archive at {path!r}: the folder has no model.tar.gz")
    return found


def _local(path: str) -> Path:
    try:
        found = cached(path)
        if not (found.is_dir() or found.is_file()):
            raise ValueError("neither a file nor a folder")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"no archive at {path!r}: {error}") from error
    return found


def read_member(path: str, name: str) -> bytes:
    """Return the content of a file within an archive.

    # Raises

    `ConfigurationError` if the archive has no such file.
    """
    with _told_as_damaged(path):
        found = tars.read_files(archive_file(path), lambda member: member == name)
    if name not in found:
        raise ConfigurationError(f"{path!r} has no {name}")
    return found[name]


def copy_folder(path: str, name: str, directory: Path) -> None:
    """Write the files of a folder within an archive to a folder of that name in `directory`."""
    (directory / name).mkdir()
    with _told_as_damaged(path):
        found = tars.read_files(
            archive_file(path), lambda member: Path(member).parent == Path(name)
        )
    for member, content in found.items():
        (directory / member).write_bytes(content)


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
    overwrite: bool = True,
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
    overwrite : `bool`, optional (default = `True`)
        Whether an archive that has appeared at `target` meanwhile is replaced.
    """
    changes = {_WEIGHTS: lambda old: _changed_weights(old, weights)}
    if policy is not None or dtype is not None:
        changes[CONFIG_NAME] = lambda old: changed_config(old, policy, dtype)
    with _told_as_damaged(source), replacing(target, overwrite) as partial:
        tars.rewrite(archive_file(source), partial, changes, extra or {})


def archive_run(
    serialization_dir: Union[str, "os.PathLike[str]"],
    weights: str = _DEFAULT_WEIGHTS,
    archive_path: Union[str, "os.PathLike[str]", None] = None,
    include_in_archive: Optional[List[str]] = None,
) -> str:
    """Do what AllenNLP's `archive_model` does; the archive appears when it is whole, with checksums.

    # Raises

    `RuntimeError` as it does, if the folder has no weights or config.
    """
    folder = Path(serialization_dir)
    required = {CONFIG_NAME: folder / CONFIG_NAME, _WEIGHTS: folder / weights}
    for file in required.values():
        if not file.exists():
            raise RuntimeError(f"{str(file)!r} does not exist: unable to archive the model")
    target = folder if archive_path is None else Path(archive_path)
    if target.is_dir():
        target = target / "model.tar.gz"
    files = {**required, "vocabulary": folder / "vocabulary"}
    if (folder / META_NAME).exists():
        files[META_NAME] = folder / META_NAME
    for pattern in include_in_archive or []:
        for found in glob.glob(str(folder / pattern)):
            files[os.path.relpath(found, folder)] = Path(found)
    with replacing(target) as partial, tars.CheckedTar.open(partial, "w:gz") as archive:
        for name, file in files.items():
            archive.add(file, arcname=name)
    return str(target)


def _changed_weights(old: bytes, weights: Dict[str, Tensor]) -> bytes:
    try:
        state = read_weights(io.BytesIO(old))
    except WeightsError as error:
        raise ConfigurationError(f"{_WEIGHTS}: {error}") from error
    state.update({name: tensor.cpu() for name, tensor in weights.items()})
    return write_weights(state)


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
