"""Measure the trained runs of a dataset: accuracy, layers, wall-clock time, cost of training."""

import json
from datetime import date
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.study import lexical
from benchmarks.study.plan import FULL_LAYERS, SYSTEMS, Dataset, Run, runs, test_path
from benchmarks.study.training import archive
from sledgehammer.analysis.all_exits import ExitOutputs, run_all_exits
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.benchmark.machine import describe_machine
from sledgehammer.benchmark.timing import Timing, alternate
from sledgehammer.commands.base import as_json
from sledgehammer.dataset_readers.base import Row, token_batches
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.support.files import replacing

TIMED_LAYERS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0)
"""Mean layers at which the multi-exit model is timed."""
TIMED_ROWS = 60
ROUNDS = 5
TRAINING_PIECES = 3 * 128
"""Batches times word pieces on which fine-tuning steps are timed: fewer batches of longer texts."""


COSTS = ("wall_clock", "training_time", "extra_parameters")
"""What is measured for the first seed only."""


def measure_all(
    dataset: Dataset, data: Optional[str], out: Path, earlier: Optional[Dict[str, Any]] = None
) -> Dict[str, Any]:
    """Return all figures of the trained runs, which are at least those of the first seed.

    The outputs of the exits are kept beside the archives.

    # Parameters

    earlier : `Dict[str, Any]`, optional
        Earlier results, from which the figures of runs without an archive are taken.
    """
    done = [run for run in runs(dataset) if archive(run, out).is_file()]
    systems, rows = _accuracies(dataset, done, data, out)
    before = earlier["systems"] if earlier else {}
    for name, system in before.items():
        measured = systems[name]["runs"]
        seeds_measured = {run["seed"] for run in measured}
        kept = [run for run in system["runs"] if run["seed"] not in seeds_measured]
        systems[name]["runs"] = sorted(measured + kept, key=lambda run: run["seed"])
    seeds = {run["seed"] for system in systems.values() for run in system["runs"]}
    first = [Run(dataset, name, dataset.seeds[0]) for name in SYSTEMS]
    if before and not set(first) <= set(done):
        for name, system in before.items():
            systems[name].update({cost: system[cost] for cost in COSTS if cost in system})
    else:
        _add_costs(
            systems, {run.system: open_archive(str(archive(run, out))) for run in first}, rows
        )
    return {
        **describe_run(dataset, len(rows), sorted(seeds)),
        "timed": {"rows": min(TIMED_ROWS, len(rows)), "batch_size": 1, "rounds": ROUNDS},
        "systems": systems,
    }


def _accuracies(
    dataset: Dataset, done: Sequence[Run], data: Optional[str], out: Path
) -> Tuple[Dict[str, Any], List[Row]]:
    """Return the curve of every run, by system, and the test rows."""
    names = (*SYSTEMS, "uncalibrated", "oracle", *lexical.NAMES)
    systems: Dict[str, Any] = {name: {"runs": []} for name in names}
    rows: List[Row] = []
    words = lexical.words_of(dataset, list(done), data, out)
    for run in done:
        opened = open_archive(str(archive(run, out)))
        opened.reader.max_instances = dataset.test_rows
        rows = rows or read_rows(opened.reader, test_path(dataset, data))
        outputs = outputs_of(opened, rows, archive(run, out).parent / "test_outputs.safetensors")
        temperatures = opened.model.temperatures
        calibrated = _tradeoff(opened, outputs, temperatures)
        _add(systems[run.system], run, _curve(calibrated), temperatures)
        if run.system == "multi_exit":
            plain = torch.ones_like(temperatures)
            _add(systems["uncalibrated"], run, _curve(_tradeoff(opened, outputs, plain)), plain)
            _add(systems["oracle"], run, [calibrated.oracle()])
        if words and run.system in (*lexical.IN_FRONT, *lexical.MIXED_IN):
            validation = lexical.validation_rows(dataset, opened.reader, data)
            cache = archive(run, out).parent / "validation_outputs.safetensors"
            on_validation = outputs_of(opened, validation, cache)
            made = lexical.helped(run.system, opened, words, on_validation, outputs)
            for name, (curve, scalings) in made.items():
                temperatures, mixing = (torch.tensor(values) for values in zip(*scalings))
                _add(systems[name], run, curve, temperatures, mixing)
    return systems, rows


def _add_costs(systems: Dict[str, Any], first: Dict[str, Opened], rows: Sequence[Row]) -> None:
    curve = systems["multi_exit"]["runs"][0]["curve"]
    for name, timing in _wall_clock(first, rows, curve).items():
        systems[name]["wall_clock"] = timing
    batches = max(1, TRAINING_PIECES // first["standard"].reader.max_length)
    for name, cost in _training_cost(first, rows[: 32 * batches]).items():
        systems[name]["training_time"] = cost
    plain = number_of_parameters(first["standard"])
    for name, opened in first.items():
        systems[name]["extra_parameters"] = number_of_parameters(opened) / plain - 1


def write_results(results: Dict[str, Any], folder: Path) -> Path:
    """Write the results of a dataset as JSON, and return the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{results['dataset']}.json"
    with replacing(target) as partial:
        partial.write_text(json.dumps(as_json(_rounded(results)), indent=1) + "\n")
    return target


def earlier_results(dataset: Dataset, folder: Path) -> Optional[Dict[str, Any]]:
    """Return what `write_results` wrote for a dataset, or `None`."""
    file = folder / f"{dataset.name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def describe_run(dataset: Dataset, test_rows: int, seeds: List[int]) -> Dict[str, Any]:
    """Return what was measured, where and when."""
    return {
        "dataset": dataset.name,
        "rows": {
            "train": dataset.train_rows,
            "validation": dataset.validation_rows,
            "test": test_rows,
        },
        "max_length": dataset.max_length,
        "seeds": seeds,
        "date": date.today().isoformat(),
        "machine": _machine(),
    }


def outputs_of(opened: Opened, rows: Sequence[Row], cache: Path) -> ExitOutputs:
    """Return the outputs of all exits, from the file `cache` if they were computed before."""
    if cache.is_file():
        return ExitOutputs(**load_file(cache))
    outputs = run_all_exits(opened.model, opened.reader, rows)
    with replacing(cache) as partial:
        tensors = {name: tensor for name, tensor in vars(outputs).items() if tensor is not None}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    return outputs


def _tradeoff(opened: Opened, outputs: ExitOutputs, temperatures: torch.Tensor) -> Tradeoff:
    assert outputs.label is not None
    probs = torch.softmax(outputs.logits / temperatures[:, None], dim=-1)
    model = opened.model
    return Tradeoff(probs, outputs.label, model.exit_layers, FULL_LAYERS, model.policy)


def _curve(tradeoff: Tradeoff) -> List[Point]:
    return tradeoff.curve(tradeoff.grid() if len(tradeoff.exit_layers) > 1 else [1.0])


def _add(
    system: Dict[str, Any],
    run: Run,
    curve: List[Point],
    temperatures: Optional[torch.Tensor] = None,
    mixing: Optional[torch.Tensor] = None,
) -> None:
    result = {"seed": run.seed, "curve": curve}
    for name, values in (("temperatures", temperatures), ("mixing", mixing)):
        if values is not None:
            result[name] = values.tolist()
    system["runs"].append(result)


def _wall_clock(
    first: Dict[str, Opened], rows: Sequence[Row], curve: Sequence[Point]
) -> Dict[str, List[Dict[str, Any]]]:
    """Time single texts, all systems in turns, relative to the standard baseline."""
    sample = [rows[i * len(rows) // TIMED_ROWS] for i in range(min(TIMED_ROWS, len(rows)))]
    variants: Dict[Tuple[str, float], Callable[[], None]] = {}
    layers: Dict[Tuple[str, float], float] = {}
    for name in ("standard", "efficient_0", "efficient_1", "efficient_3", "multi_exit"):
        model, reader = first[name]
        batches = [tokens for tokens, _ in token_batches(reader, sample, 1)]
        thresholds = [1.0] if name != "multi_exit" else _thresholds_for(curve)
        for threshold in thresholds:

            def run(
                model: Any = model, batches: Any = batches, key: Any = (name, threshold)
            ) -> None:
                model.policy.threshold = key[1]
                with torch.no_grad():
                    layers[key] = float(np.mean([int(model(t)["layers_run"]) for t in batches]))

            variants[name, threshold] = run
    timings = alternate(variants, ROUNDS)
    results: Dict[str, List[Dict[str, Any]]] = {}
    for (name, threshold), timing in timings.items():
        results.setdefault(name, []).append(
            {
                "threshold": threshold,
                "mean_layers": layers[name, threshold],
                "milliseconds": 1000 * timing.median / len(sample),
                **ratio_figures(timing.ratio(timings["standard", 1.0])),
            }
        )
    return results


def _thresholds_for(curve: Sequence[Point]) -> List[float]:
    """Return the thresholds whose mean layers are nearest to `TIMED_LAYERS`."""
    nearest = [min(curve, key=lambda p: abs(p.mean_layers - wanted)) for wanted in TIMED_LAYERS]
    return sorted({point.number for point in nearest})


def training_steps(opened: Opened, rows: Sequence[Row]) -> Callable[[], None]:
    """Return a function that trains a model on rows in batches of 32, with a tiny learning rate."""
    model, reader = opened
    vocab = model.vocab.get_token_to_index_vocabulary(model.label_namespace)
    batches = [
        (tokens, torch.tensor([vocab[str(rows[i].label)] for i in positions]))
        for tokens, positions in token_batches(reader, rows, 32)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9)

    def train() -> None:
        model.train()
        for tokens, label in batches:
            optimizer.zero_grad()
            model(tokens, label)["loss"].backward()
            optimizer.step()

    return train


def _training_cost(first: Dict[str, Opened], rows: Sequence[Row]) -> Dict[str, Dict[str, Any]]:
    """Time the same training steps of all systems in turns, relative to the standard baseline."""
    steps: Dict[str, Callable[[], None]] = {}
    for name, opened in first.items():
        steps[name] = training_steps(opened, rows)
    timings = alternate(steps, ROUNDS)
    return {name: ratio_figures(timings["standard"].ratio(t)) for name, t in timings.items()}


def ratio_figures(timing: Timing) -> Dict[str, Any]:
    """Return the median and the quartiles of ratios."""
    return {"ratio": timing.median, "quartiles": timing.quartiles}


def number_of_parameters(opened: Opened) -> int:
    """Return how many weights a model has."""
    return sum(parameter.numel() for parameter in opened.model.parameters())


def _machine() -> Dict[str, Any]:
    machine = describe_machine()
    return {
        "processor": machine["processor"],
        "threads": torch.get_num_threads(),
        "python": machine["python"],
        **{name: machine["libraries"][name] for name in ("torch", "transformers")},
    }


def _rounded(content: Any) -> Any:
    content = as_json(content)
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return float(f"{content:.6g}") if isinstance(content, float) else content
