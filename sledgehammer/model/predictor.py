"""JSON lines in, JSON lines out."""

import logging
import weakref
from typing import Any, Dict, List, Optional, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.common.util import JsonDict, sanitize
from allennlp.data import Instance
from allennlp.data.fields import MetadataField
from allennlp.predictors import Predictor

from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.engine.lines import ANSWER_FIELDS, BYTE_ORDER_MARK, TRUNCATED, LineFormat, Tally
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.chosen_setting import log_stale_choice
from sledgehammer.model.policy_config import configuration_errors
from sledgehammer.policies import RowSettings

logger = logging.getLogger(__name__)


class Line(Dict[str, Any]):
    """The JSON object of an input line, and the number of that line, counted from 1."""

    number = 0
    problem: Optional[str] = None


@Predictor.register("sledgehammer")
class SledgehammerPredictor(Predictor):
    """Predicts with calibrated early exits.

    A line is `{"text": ...}` (or `"sentence"`) for a reader of single texts, or
    `{"premise": ..., "hypothesis": ...}`; `"threshold"`, or another setting that the archive's
    policy has, holds for that line only; `"id"` is carried over to the output, `"label"` is passed
    over, and other fields are errors. The output has `label`, `probs` by label name, `confidence`,
    `exit_layer`, `layers_run` and `layer_speedup` (null where no layer was run); also
    `"truncated": true` if the text was longer than the reader's `max_length`. A bad line gives
    `{"error": ..., "line": N}` in its place.

    # Parameters

    model : `ExitClassifier`
    dataset_reader : `TransformerReader`
    dtype : `str`, optional
        Number format of the layers: `float32`, `bfloat16` or `float16`, in place of the archive's.
    keep : `List[str]`, optional
        More fields of a line that its output carries over.
    text_lines : `bool`, optional (default = `False`)
        Whether a line is a text, and no JSON.
    **settings : `float`, optional
        Of the policy, by name, such as `threshold` or `max_exit_layer`; in place of the archive's.

    # Raises

    `ConfigurationError` for a setting that the policy does not have, or a value that it may not
    have; an unknown number format; a model of another kind.
    """

    _model: ExitClassifier
    _dataset_reader: TransformerReader

    def __init__(
        self,
        model: ExitClassifier,
        dataset_reader: TransformerReader,
        frozen: bool = True,
        dtype: Optional[str] = None,
        keep: Optional[List[str]] = None,
        text_lines: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(model, dataset_reader, frozen)
        if not isinstance(model, ExitClassifier):
            raise ConfigurationError(f"not a sledgehammer model: {type(model).__name__}")
        with configuration_errors():
            model.policy.change({n: value for n, value in settings.items() if value is not None})
        if dtype is not None:
            model.use_number_format(dtype)
        if settings or dtype is not None:
            log_stale_choice(model)
        self._plain = model.policy
        self._in_stream = model.policy.in_stream()
        with configuration_errors():
            self._format = LineFormat(dataset_reader.fields, keep or (), text_lines)
        self._lines = 0
        self._tally = Tally()
        # Programs do not tell a predictor that the input has ended.
        self._report = weakref.finalize(self, _report, self._tally, dataset_reader.max_length)

    def finish(self) -> int:
        """Tell of bad lines and long texts; return the exit code of `predict` (see `Tally`)."""
        self._report()
        return self._tally.exit_code

    def load_line(self, line: str) -> JsonDict:
        """The line's JSON object; what is wrong with a line is kept for its output."""
        self._lines += 1
        if self._lines == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        loaded, problem = self._format.parse(line)
        inputs = Line(loaded)
        inputs.number = self._lines
        inputs.problem = problem
        return inputs

    def predict_json(self, inputs: JsonDict) -> JsonDict:
        return self.predict_batch_json([inputs])[0]

    def predict_batch_json(self, inputs: List[JsonDict]) -> List[JsonDict]:
        """One output for each input, in order.

        # Raises

        `ValueError` for a bad input that does not come from a line; a bad line gets an output
        with `error` and `line` instead.
        """
        outputs: List[JsonDict] = [{} for _ in inputs]
        rows: Dict[int, Row] = {}
        settings: List[RowSettings] = []
        for position, json_dict in enumerate(inputs):
            try:
                outputs[position].update(self._format.kept(json_dict))
                rows[position], own = self._checked(json_dict)
                settings.append(own)
            except ValueError as error:
                if not isinstance(json_dict, Line):
                    raise
                self._tally.bad_lines.append(json_dict.number)
                outputs[position].update(error=str(error), line=json_dict.number)
        if rows:
            instances = self._instances(list(rows.values()), settings)
            for position, output in zip(rows, self._answers(instances)):
                outputs[position].update(output)
        self._count(outputs)
        return outputs

    def predict_instance(self, instance: Instance) -> JsonDict:
        return self.predict_batch_instance([instance])[0]

    def predict_batch_instance(self, instances: List[Instance]) -> List[JsonDict]:
        outputs = self._answers(instances)
        self._count(outputs)
        return outputs

    def _answers(self, instances: List[Instance]) -> List[JsonDict]:
        truncated = [getattr(instance, "truncated", False) for instance in instances]
        # A policy that is set on the model later is not this stream's.
        steered = self._model.policy is self._plain
        with self._model.deciding_by(self._in_stream if steered else self._model.policy):
            outputs = self._model.forward_on_instances(instances)
        answers = [_as_json(output) for output in outputs]
        for answer, is_cut in zip(answers, truncated):
            if is_cut:
                answer[TRUNCATED] = True
        return answers

    def _count(self, outputs: List[JsonDict]) -> None:
        for output in outputs:
            self._tally.lines += 1
            if output.get(TRUNCATED):
                self._tally.truncated.append(self._tally.lines)

    def _json_to_instance(self, json_dict: JsonDict) -> Instance:
        row, settings = self._checked(json_dict)
        return self._instances([row], [settings])[0]

    def _checked(self, json_dict: JsonDict) -> Tuple[Row, RowSettings]:
        if isinstance(json_dict, Line) and json_dict.problem:
            raise ValueError(json_dict.problem)
        texts, settings, _ = self._format.request(json_dict, self._model.policy)
        return Row(texts, None), settings

    def _instances(self, rows: List[Row], settings: List[RowSettings]) -> List[Instance]:
        instances = self._dataset_reader.instances(rows)
        for instance, own in zip(instances, settings):
            instance.add_field("settings", MetadataField(own))
        return instances


def _report(tally: Tally, max_length: int) -> None:
    for summary in tally.summaries(max_length):
        logger.warning(summary)


def _as_json(output: JsonDict) -> JsonDict:
    # AllenNLP's function makes a text of `None`.
    return {n: None if output[n] is None else sanitize(output[n]) for n in ANSWER_FIELDS}
