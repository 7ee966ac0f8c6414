"""Makes `allennlp predict` give an answer for every line, and take exported models.

AllenNLP's own passes over blank lines and stops at bytes that are not UTF-8, so that outputs no
longer stand beside their inputs. It parses the command line before it loads plugins, so that its
subcommand can't be replaced by another; what reads the lines can.
"""

import io
import sys
from collections.abc import Iterator
from typing import TextIO

from allennlp.commands import predict as allennlp_predict
from allennlp.common.file_utils import open_compressed
from allennlp.common.util import JsonDict

from sledgehammer.commands.loading import loader
from sledgehammer.predictor import SledgehammerPredictor


class LineManager(allennlp_predict._PredictManager):
    """Gives a `SledgehammerPredictor` every line; for other predictors all is as before."""

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
