"""Wall-clock times of a model at several thresholds, taken in one run."""

from dataclasses import dataclass
from typing import Callable, List, Sequence

import torch
from allennlp.nn import util

from sledgehammer.classifier import ExitClassifier
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.outputs import token_batches
from sledgehammer.timing import alternate


@dataclass(frozen=True)
class MeasuredPoint:
    """One threshold's figures on the measured rows.

    # Parameters

    threshold : `float`
    mean_layers, layer_speedup : `float`
    milliseconds : `float`
        Per text, median over the rounds; with its quartiles.
    speedup : `float`
        Wall-clock, against threshold 1.0 in the same round; median, with its quartiles.
    """

    threshold: float
    mean_layers: float
    layer_speedup: float
    milliseconds: float
    milliseconds_quartiles: List[float]
    speedup: float
    speedup_quartiles: List[float]


@dataclass(frozen=True)
class Measurement:
    """Times and what they were taken with."""

    points: List[MeasuredPoint]
    rows: int
    batch_size: int
    threads: int
    device: str
    rounds: int


def measure(
    model: ExitClassifier,
    reader: TransformerReader,
    rows: Sequence[Row],
    thresholds: Sequence[float],
    batch_size: int = 1,
    rounds: int = 7,
) -> Measurement:
    """Time the model, tokenising apart, on some rows at some thresholds, of which one is 1.0.

    Batches hold rows of about the same length.
    """
    device = model.temperatures.device
    batches = [
        util.move_to_device(tokens, device) for tokens, _ in token_batches(reader, rows, batch_size)
    ]
    layers = {}

    def runner(threshold: float) -> Callable[[], None]:
        def run() -> None:
            model.policy.threshold = threshold
            with torch.no_grad():
                run = [model(tokens)["layers_run"] for tokens in batches]
            layers[threshold] = float(torch.cat(run).double().mean())

        return run

    before = model.policy.threshold
    try:
        timings = alternate({t: runner(t) for t in thresholds}, rounds)
    finally:
        model.policy.threshold = before
    points = []
    for threshold, timing in timings.items():
        ratio = timing.ratio(timings[1.0])
        points.append(
            MeasuredPoint(
                threshold,
                layers[threshold],
                model.full_layers / layers[threshold],
                1000 * timing.median / len(rows),
                [1000 * seconds / len(rows) for seconds in timing.quartiles],
                ratio.median,
                ratio.quartiles,
            )
        )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return Measurement(points, len(rows), batch_size, torch.get_num_threads(), name, rounds)
