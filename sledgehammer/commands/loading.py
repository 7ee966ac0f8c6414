"""How AllenNLP's own commands load an archive, so that they take exported models too."""

import sys
from os import PathLike
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Union

from allennlp.common.checks import ConfigurationError
from allennlp.models import Archive
from allennlp.models.archival import CONFIG_NAME, load_archive

from sledgehammer.archives import load
from sledgehammer.engine.manifest import MANIFEST, is_engine


def loader(command: str) -> Callable[..., Archive]:
    """A `load_archive` for the module of one of AllenNLP's commands.

    # Parameters

    command : `str`
        Its name. When the process is this command, what is wrong with an exported model is told
        in one line; else it is raised as a `ConfigurationError`.
    """

    def load_any(
        archive_file: Union[str, "PathLike[str]"],
        cuda_device: int = -1,
        overrides: Union[str, Dict[str, Any]] = "",
        weights_file: Optional[str] = None,
    ) -> Archive:
        try:
            if is_engine(str(archive_file)):
                return load(str(archive_file), weights_file, cuda_device, overrides)  # type: ignore[arg-type]
            _check_folder(Path(archive_file))
        except ConfigurationError as error:
            if sys.argv[1:2] != [command]:
                raise
            raise SystemExit(f"allennlp {command}: error: {error.message}") from error
        return load_archive(archive_file, cuda_device, overrides, weights_file)  # type: ignore[arg-type]

    return load_any


def _check_folder(path: Path) -> None:
    """AllenNLP takes the folder of a run for an archive; without a config it is none."""
    if path.is_dir() and not (path / CONFIG_NAME).is_file():
        raise ConfigurationError(
            f"{str(path)!r} is neither the folder of an archive, which has a {CONFIG_NAME}, nor "
            f"an exported model, which has an {MANIFEST}"
        )
