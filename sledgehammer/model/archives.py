"""Open archives and exported models, with clear errors."""

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple, Optional

from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.models import Archive, load_archive
from allennlp.models.archival import CONFIG_NAME, get_weights_path

# `dataset_readers` and `multi_exit` register the classes that an archive names.
from sledgehammer import dataset_readers  # noqa: F401
from sledgehammer.dataset_readers.base import TransformerReader
from sledgehammer.engine.manifest import EngineError, is_engine
from sledgehammer.engine.manifest import read as read_manifest
from sledgehammer.model import multi_exit  # noqa: F401
from sledgehammer.model.archive_files import archive_file, damaged, local_path, weights_sha256
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.exported import load_exported
from sledgehammer.model.weights import WeightsError, check_weights
from sledgehammer.support import tars
from sledgehammer.support.owned import scratch_folder


class Opened(NamedTuple):
    """Hold the model and the reader of a loaded archive."""

    model: ExitClassifier
    reader: TransformerReader


def open_archive(path: str, cuda_device: int = -1, overrides: str = "") -> Opened:
    """Load the model and the reader of an archive or of an exported model.

    # Raises

    `ConfigurationError` if there is no archive, or its model is not one of sledgehammer's.
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
    """Load an archive as AllenNLP's `load_archive` does, or the directory of an exported model.

    `tars.extract` unpacks the archive, so that nothing is written outside a temporary folder; code
    hidden in the weights is never run.

    # Parameters

    name : `str`, optional
        What errors call the archive; `path` by default.

    # Raises

    `ConfigurationError` if the archive is damaged or its parts do not fit together, or if an
    exported model is to run on a GPU or with other weights.
    """
    if is_engine(path):
        if cuda_device >= 0 or weights_file:
            raise ConfigurationError(
                f"{path!r} is an exported model: it runs on the CPU, with the weights it has"
            )
        with _reporting_load_errors(name or path):
            return load_exported(Path(path), overrides)
    file = local_path(path)
    with _reporting_load_errors(name or path):
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
def _reporting_load_errors(path: str) -> Iterator[None]:
    """Turn any exception raised while an archive loads into a `ConfigurationError` of one line.

    A config can name any class with any arguments, and weights can hold any tensors, so a mistake
    in them can raise nearly anything.
    """
    try:
        yield
    except tars.ArchiveError as error:
        raise damaged(path, error) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"cannot load {path!r}: {_in_one_line(error.message)}") from error
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise ConfigurationError(f"cannot load {path!r}: {reason}") from error
    except Exception as error:
        reason = f"{type(error).__name__}, {_in_one_line(str(error)) or 'without a message'}"
        raise ConfigurationError(f"cannot load {path!r}: {reason}") from error


def _in_one_line(message: str, longest: int = 500) -> str:
    line = " ".join(message.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def check_exported_from(directory: str, archive: str) -> None:
    """Raise a `ConfigurationError` unless an exported model has an archive's weights."""
    try:
        source = read_manifest(Path(directory)).source
    except EngineError as error:
        raise ConfigurationError(str(error)) from error
    if source["weights_sha256"] != weights_sha256(archive):
        raise ConfigurationError(
            f"{directory!r} was not exported from {archive!r}: it comes from "
            f"{source['archive']!r}, or from other weights of that name"
        )
