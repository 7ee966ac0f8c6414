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
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.chosen_setting import warn_of_choice
from sledgehammer.model.policy_config import configuration_errors
from sledgehammer.policies import settings_in
from sledgehammer.support.jsonl import OUTPUTS, parse_line, summary_of_bad_lines, texts_of

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
    policy has, holds for that line only. The output has `label`, `probs` by label name, `confidence`, `exit_layer`, `layers_run` and
    `layer_speedup`. A bad line gives `{"error": ..., "line": N}` in its place.

    # Parameters

    model : `ExitClassifier`
    dataset_reader : `TransformerReader`
    dtype : `str`, optional
        Number format of the layers: `float32`, `bfloat16` or `float16`, in place of the archive's.
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
            warn_of_choice(model)
        self._plain = model.policy
        self._in_stream = model.policy.in_stream()
        self._lines = 0
        self._bad_lines: List[int] = []
        # AllenNLP does not tell a predictor that the input has ended.
        weakref.finalize(self, _report_bad_lines, self._bad_lines)

    def load_line(self, line: str) -> JsonDict:
        """The line's JSON object; what is wrong with a line is kept for its output."""
        self._lines += 1
        loaded, problem = parse_line(line)
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
        settings: List[List[float]] = []
        for position, json_dict in enumerate(inputs):
            try:
                rows[position], own = self._checked(json_dict)
                settings.append(own)
            except ValueError as error:
                if not isinstance(json_dict, Line):
                    raise
                self._bad_lines.append(json_dict.number)
                outputs[position] = {"error": str(error), "line": json_dict.number}
        if rows:
            instances = self._instances(list(rows.values()), settings)
            for position, output in zip(rows, self.predict_batch_instance(instances)):
                outputs[position] = output
        return outputs

    def predict_instance(self, instance: Instance) -> JsonDict:
        return self.predict_batch_instance([instance])[0]

    def predict_batch_instance(self, instances: List[Instance]) -> List[JsonDict]:
        # A policy that is set on the model later is not this stream's.
        steered = self._model.policy is self._plain
        with self._model.deciding_by(self._in_stream if steered else self._model.policy):
            outputs = self._model.forward_on_instances(instances)
        return [sanitize({name: output[name] for name in OUTPUTS}) for output in outputs]

    def _json_to_instance(self, json_dict: JsonDict) -> Instance:
        row, settings = self._checked(json_dict)
        return self._instances([row], [settings])[0]

    def _checked(self, json_dict: JsonDict) -> Tuple[Row, List[float]]:
        if isinstance(json_dict, Line) and json_dict.problem:
            raise ValueError(json_dict.problem)
        texts = texts_of(json_dict, self._dataset_reader.fields)
        policy = self._model.policy
        own = policy.checked(settings_in(json_dict))
        return Row(texts, None), policy.row(own)

    def _instances(self, rows: List[Row], settings: List[List[float]]) -> List[Instance]:
        instances = self._dataset_reader.instances(rows)
        for instance, own in zip(instances, settings):
            instance.add_field("settings", MetadataField(own))
        return instances


def _report_bad_lines(numbers: List[int]) -> None:
    if numbers:
        logger.warning(summary_of_bad_lines(numbers))
