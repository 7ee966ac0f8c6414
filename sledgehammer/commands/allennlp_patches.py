"""What is replaced in AllenNLP's own `predict` and `evaluate`.

Both take exported models too, and `predict` gives an answer for every line: AllenNLP's own passes
over blank lines and stops at bytes that are not UTF-8, so that outputs no longer stand beside their
inputs. It parses the command line before it loads plugins, so that a subcommand can't be replaced
by another; what reads the lines can.
"""

import io
import sys
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Callable, Dict, Optional, TextIO, Union

from allennlp.commands import evaluate as allennlp_evaluate
from allennlp.commands import predict as allennlp_predict
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.file_utils import open_compressed
from allennlp.common.util import JsonDict
from allennlp.models import Archive
from allennlp.models.archival import CONFIG_NAME, load_archive

from sledgehammer.engine.manifest import MANIFEST, is_engine
from sledgehammer.model.archives import load
from sledgehammer.model.predictor import SledgehammerPredictor
from sledgehammer.support.console import program


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
            check_for_gpu(cuda_device)
            if is_engine(str(archive_file)):
                return load(str(archive_file), weights_file, cuda_device, overrides)  # type: ignore[arg-type]
            _check_folder(Path(archive_file))
        except ConfigurationError as error:
            if sys.argv[1:2] != [command]:
                raise
            raise SystemExit(f"{program()} {command}: error: {error.message}") from error
        return load_archive(archive_file, cuda_device, overrides, weights_file)  # type: ignore[arg-type]

    return load_any


def _check_folder(path: Path) -> None:
    """AllenNLP takes the folder of a run for an archive; without a config it is none."""
    if path.is_dir() and not (path / CONFIG_NAME).is_file():
        raise ConfigurationError(
            f"{str(path)!r} is neither the folder of an archive, which has a {CONFIG_NAME}, nor "
            f"an exported model, which has an {MANIFEST}"
        )


class LineManager(allennlp_predict._PredictManager):
    """Gives a `SledgehammerPredictor` every line; for other predictors all is as before.

    Bad lines show in the exit code.
    """

    def run(self) -> None:
        super().run()
        if isinstance(self._predictor, SledgehammerPredictor) and (
            code := self._predictor.finish()
        ):
            sys.exit(code)

    def _get_json_data(self) -> Iterator[JsonDict]:
        if not isinstance(self._predictor, SledgehammerPredictor):
            yield from super()._get_json_data()
            return
        with _open(self._input_file) as lines:
            for line in lines:
                yield self._predictor.load_line(line)


def _open(path: str) -> TextIO:
    """Text whose undecodable bytes are lone surrogates, by which the predictor knows them."""
    if path == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="surrogateescape")
    return open_compressed(path, errors="surrogateescape")


allennlp_predict._PredictManager = LineManager  # type: ignore[misc]
allennlp_predict.load_archive = loader("predict")
allennlp_evaluate.load_archive = loader("evaluate")
