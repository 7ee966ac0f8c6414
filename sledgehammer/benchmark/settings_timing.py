"""Wall-clock times of a model at several settings of its policy, taken in one run."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence

import torch
from allennlp.nn import util

from sledgehammer.benchmark.timing import alternate
from sledgehammer.dataset_readers.base import Row, TransformerReader, token_batches
from sledgehammer.model.base import ExitClassifier


@dataclass(frozen=True)
class MeasuredPoint:
    """One setting's figures on the measured rows.

    # Parameters

    setting : `float`
        The value of what the policy sweeps.
    mean_layers, layer_speedup : `float`
    milliseconds : `float`
        Per text, median over the rounds; with its quartiles.
    speedup : `float`
        Wall-clock, against the full model in the same round; median, with its quartiles.
    name : `str`, optional (default = `"threshold"`)
        What the setting is called.
    """

    setting: float
    mean_layers: float
    layer_speedup: float
    milliseconds: float
    milliseconds_quartiles: List[float]
    speedup: float
    speedup_quartiles: List[float]
    name: str = "threshold"

    def figures(self) -> Dict[str, Any]:
        """All of it, the setting under its own name."""
        rest = {k: v for k, v in vars(self).items() if k not in ("setting", "name")}
        return {self.name: self.setting, **rest}


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
    settings: Sequence[float],
    batch_size: int = 1,
    rounds: int = 7,
) -> Measurement:
    """Time the model, tokenising apart, on some rows at some settings, of which one is the full model's.

    Batches hold rows of about the same length.
    """
    device = model.temperatures.device
    batches = [
        util.move_to_device(tokens, device) for tokens, _ in token_batches(reader, rows, batch_size)
    ]
    layers = {}

    policy = model.policy

    def runner(setting: float) -> Callable[[], None]:
        def run() -> None:
            policy.swept = setting
            with torch.no_grad():
                run = [model(tokens)["layers_run"] for tokens in batches]
            layers[setting] = float(torch.cat(run).double().mean())

        return run

    before = policy.swept
    try:
        timings = alternate({s: runner(s) for s in settings}, rounds)
    finally:
        policy.swept = before
    points = []
    for setting, timing in timings.items():
        ratio = timing.ratio(timings[policy.full])
        points.append(
            MeasuredPoint(
                setting,
                layers[setting],
                model.full_layers / layers[setting],
                1000 * timing.median / len(rows),
                [1000 * seconds / len(rows) for seconds in timing.quartiles],
                ratio.median,
                ratio.quartiles,
                policy.sweeps,
            )
        )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return Measurement(points, len(rows), batch_size, torch.get_num_threads(), name, rounds)
