"""Answer JSON lines with an archive's model."""

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
    """Hold the JSON object of an input line, the line's number, from 1, and what is wrong with it."""

    number = 0
    problem: Optional[str] = None


@Predictor.register("sledgehammer")
class SledgehammerPredictor(Predictor):
    """Predict with calibrated early exits.

    A line is `{"text": ...}` (or `"sentence"`) for a reader of single texts, or
    `{"premise": ..., "hypothesis": ...}`; `"threshold"`, or another setting that the archive's
    policy has, holds for that line only; the output has the line's `"id"`; `"label"` is ignored, and
    other fields are errors. The output has `label`, `probs` by label name, `confidence`,
    `exit_layer`, `layers_run` and `layer_speedup` (null where no layer was run); also
    `"truncated": true` if the text was longer than the reader's `max_length`. A bad line gives
    `{"error": ..., "line": N}` in its place.

    # Parameters

    model : `ExitClassifier`
    dataset_reader : `TransformerReader`
    dtype : `str`, optional
        The number format of the layers, `float32`, `bfloat16` or `float16`, in place of the archive's.
    keep : `List[str]`, optional
        Fields that outputs take over from their lines, besides `id`.
    text_lines : `bool`, optional (default = `False`)
        Whether a line is plain text, not JSON.
    **settings : `float`, optional
        Settings of the policy, by name, such as `threshold` or `max_exit_layer`, in place of the
        archive's.

    # Raises

    `ConfigurationError` for an unknown setting, an invalid value of one, an unknown number format, or
    a model that is not one of sledgehammer's.
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
        self._policy = model.policy
        self._stream_policy = model.policy.in_stream()
        with configuration_errors():
            self._format = LineFormat(dataset_reader.fields, keep or (), text_lines)
        self._lines = 0
        self._tally = Tally()
        # Programs do not tell a predictor that the input has ended.
        self._report = weakref.finalize(self, _report, self._tally, dataset_reader.max_length)

    def finish(self) -> int:
        """Report bad lines and long texts; return the exit code of `predict` (see `Tally`)."""
        self._report()
        return self._tally.exit_code

    def load_line(self, line: str) -> JsonDict:
        """Return the JSON object of a line; what is wrong with the line is kept for its output."""
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
        """Return one output for each input, in order.

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
                rows[position], row_settings = self._checked(json_dict)
                settings.append(row_settings)
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
        policy = self._model.policy
        if policy is self._policy:  # otherwise somebody has set another one since
            policy = self._stream_policy
        with self._model.deciding_by(policy):
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
        for instance, row_settings in zip(instances, settings):
            instance.add_field("settings", MetadataField(row_settings))
        return instances


def _report(tally: Tally, max_length: int) -> None:
    for summary in tally.summaries(max_length):
        logger.warning(summary)


def _as_json(output: JsonDict) -> JsonDict:
    # AllenNLP's `sanitize` turns `None` into a string.
    return {n: None if output[n] is None else sanitize(output[n]) for n in ANSWER_FIELDS}
