"""Patch AllenNLP's own `predict` and `evaluate`.

Both then accept exported models, open archives as our own commands do, and write each file
completely or not at all. `predict` answers every line: AllenNLP's own skips blank lines and stops
at bytes that are not UTF-8, so that outputs no longer match their inputs line by line. AllenNLP
parses the command line before it loads plugins, so the subcommands themselves cannot be replaced,
but the functions that they call can.
"""

import argparse
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Callable, Dict, Optional, TextIO, Union

from allennlp.commands import evaluate as allennlp_evaluate
from allennlp.commands import predict as allennlp_predict
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.file_utils import open_compressed
from allennlp.common.util import JsonDict
from allennlp.models import Archive
from allennlp.models.archival import CONFIG_NAME
from allennlp.predictors import Predictor

from sledgehammer.commands.errors import one_line_errors_if_running
from sledgehammer.engine.manifest import MANIFEST, is_engine
from sledgehammer.model.archives import load
from sledgehammer.model.predictor import SledgehammerPredictor
from sledgehammer.support.console import program
from sledgehammer.support.files import check_folder, replacing


def loader(command: str) -> Callable[..., Archive]:
    """Return a replacement of `load_archive` for the module of one of AllenNLP's commands.

    # Parameters

    command : `str`
        The command's name. If the process runs this command, a `ConfigurationError` ends it with
        one line; in any other program the error is raised.
    """

    def load_any(
        archive_file: Union[str, "PathLike[str]"],
        cuda_device: int = -1,
        overrides: Union[str, Dict[str, Any]] = "",
        weights_file: Optional[str] = None,
    ) -> Archive:
        try:
            check_for_gpu(cuda_device)
            if not is_engine(str(archive_file)):
                _check_folder(Path(archive_file))
            return load(str(archive_file), weights_file, cuda_device, overrides)  # type: ignore[arg-type]
        except ConfigurationError as error:
            if sys.argv[1:2] != [command]:
                raise
            raise SystemExit(f"{program()} {command}: error: {error.message}") from error

    return load_any


def _check_folder(path: Path) -> None:
    """Raise a `ConfigurationError` for a folder that AllenNLP cannot load as an archive."""
    if path.is_dir() and not (path / CONFIG_NAME).is_file():
        raise ConfigurationError(
            f"{str(path)!r} is neither the folder of an archive (it has no {CONFIG_NAME}) nor an "
            f"exported model (it has no {MANIFEST})"
        )


class LineManager(allennlp_predict._PredictManager):
    """Give a `SledgehammerPredictor` every line, the bad ones too, and show those in the exit code.

    Other predictors work as before. The output file appears only once it is complete; a pipe or
    device is written to as the answers come.
    """

    def __init__(
        self, predictor: Predictor, input_file: str, output_file: Optional[str], *others: Any,
        **named: Any,
    ) -> None:  # fmt: skip
        self._target = output_file
        with one_line_errors_if_running("predict"):
            super().__init__(predictor, input_file, None, *others, **named)

    def run(self) -> None:
        with one_line_errors_if_running("predict"), ExitStack() as stack:
            if self._target is not None:
                partial = stack.enter_context(replacing(Path(self._target)))
                file = stack.enter_context(open(partial, "w", encoding="utf-8"))
                self._output_file = file
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
    """Open a text file; undecodable bytes become lone surrogates, which the predictor looks for."""
    if path == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="surrogateescape")
    return open_compressed(path, errors="surrogateescape")


_get_predictor = allennlp_predict._get_predictor
_evaluate_from_archive = allennlp_evaluate.evaluate_from_archive


def get_predictor(args: argparse.Namespace) -> Predictor:
    """Call AllenNLP's function after checking that the output can be written."""
    with one_line_errors_if_running("predict"):
        if args.output_file:
            check_folder(Path(args.output_file))
        return _get_predictor(args)


def evaluate_from_archive(
    archive_file: Union[str, "PathLike[str]"],
    input_file: str,
    metrics_output_file: Optional[str] = None,
    predictions_output_file: Optional[str] = None,
    **options: Any,
) -> Dict[str, Any]:
    """Call AllenNLP's function; the output files appear only once they are complete."""
    with one_line_errors_if_running("evaluate"), ExitStack() as stack:
        outputs = [metrics_output_file, predictions_output_file]
        for file in ",".join(filter(None, outputs)).split(","):
            if file:
                check_folder(Path(file))
        if options.get("auto_names", "NONE") == "NONE":
            outputs = [files and _partials(stack, files) for files in outputs]
        return _evaluate_from_archive(archive_file, input_file, outputs[0], outputs[1], **options)


def _partials(stack: ExitStack, files: str) -> str:
    """Return the comma-separated temporary files that take the place of `files` while written."""
    names = files.split(",")
    return ",".join(str(stack.enter_context(replacing(Path(name)))) for name in names)


allennlp_predict._PredictManager = LineManager  # type: ignore[misc]
allennlp_predict._get_predictor = get_predictor
allennlp_predict.load_archive = loader("predict")
allennlp_evaluate.evaluate_from_archive = evaluate_from_archive  # type: ignore[assignment]
allennlp_evaluate.load_archive = loader("evaluate")
