"""Patch AllenNLP's own `predict` and `evaluate`.

Both then accept exported models, open archives as our own commands do, and write each file
completely or not at all. `predict` answers every line: AllenNLP's own skips blank lines and stops
at bytes that are not UTF-8, so that outputs no longer match their inputs line by line. AllenNLP
parses the command line before it loads plugins, so the subcommands themselves cannot be replaced,
but the functions that they call can.
"""

import argparse
import io
import json
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
from allennlp.common.util import JsonDict, sanitize
from allennlp.evaluation.serializers.serializers import SimpleSerializer
from allennlp.models import Archive
from allennlp.models.archival import CONFIG_NAME
from allennlp.predictors import Predictor

from sledgehammer.commands.errors import one_line_errors_if_running
from sledgehammer.engine.manifest import MANIFEST, is_engine
from sledgehammer.model.archives import load
from sledgehammer.model.base import ExitClassifier
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

    The `sledgehammer` command prints one JSON line for each answer, as it does for exported models;
    `allennlp predict` prints AllenNLP's own `input` and `prediction` lines. Other predictors work
    as before. The output file appears only once it is complete; a pipe or device is written to as
    the answers come.
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

    def _maybe_print_to_console_and_file(
        self, index: int, prediction: str, model_input: Optional[str] = None
    ) -> None:
        ours = isinstance(self._predictor, SledgehammerPredictor) and program() == "sledgehammer"
        if not ours:
            super()._maybe_print_to_console_and_file(index, prediction, model_input or "")
            return
        if self._print_to_console:
            print(prediction, end="", flush=True)
        if self._output_file is not None:
            self._output_file.write(prediction)

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
_serialise = SimpleSerializer.__call__


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


def serialise(
    self: SimpleSerializer,
    batch: Dict[str, Any],
    output_dict: Dict[str, Any],
    data_loader: Any,
    output_postprocess_function: Optional[Callable[[Dict[str, Any]], Dict[str, Any]]] = None,
) -> str:
    """Return a line of `--predictions-output-file`, with nulls if the model is ours.

    AllenNLP's function makes a text of `None`, such as the speedup of a row that ran no layer.
    """
    model = getattr(output_postprocess_function, "__self__", None)
    if output_postprocess_function is None or not isinstance(model, ExitClassifier):
        return _serialise(self, batch, output_dict, data_loader, output_postprocess_function)
    outputs = output_postprocess_function(output_dict)
    return json.dumps({**_with_nulls(batch), **_with_nulls(outputs)})


def _with_nulls(value: Any) -> Any:
    """Return a value as AllenNLP's `sanitize` makes it fit for JSON, but with `None` as it is."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: _with_nulls(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_nulls(item) for item in value]
    return sanitize(value)


def _partials(stack: ExitStack, files: str) -> str:
    """Return the comma-separated temporary files that take the place of `files` while written."""
    names = files.split(",")
    return ",".join(str(stack.enter_context(replacing(Path(name)))) for name in names)


allennlp_predict._PredictManager = LineManager  # type: ignore[misc]
allennlp_predict._get_predictor = get_predictor
allennlp_predict.load_archive = loader("predict")
allennlp_evaluate.evaluate_from_archive = evaluate_from_archive  # type: ignore[assignment]
allennlp_evaluate.load_archive = loader("evaluate")
SimpleSerializer.__call__ = serialise  # type: ignore[method-assign]
