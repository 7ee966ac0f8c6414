"""Measure the trained runs of a dataset: replay every policy on the model of every objective."""

import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import torch

from benchmarks.compare.plan import EXIT_LAYERS, OBJECTIVES, POLICIES, STAGED, TEACHER, runs
from benchmarks.study.measuring import (
    describe_run,
    number_of_parameters,
    outputs_of,
    ratio_figures,
    training_steps,
)
from benchmarks.study.plan import FULL_LAYERS, Dataset, data_root, test_path
from benchmarks.study.training import archive
from sledgehammer.analysis.all_exits import ExitOutputs, run_all_exits, tradeoff_of
from sledgehammer.analysis.tradeoff import Tradeoff
from sledgehammer.benchmark.timing import alternate
from sledgehammer.dataset_readers.base import Row, token_batches
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.objectives.base import TrainingRun
from sledgehammer.policies import ExitPolicy
from sledgehammer.training.fine_tuning import GivenRows
from sledgehammer.training.rows import rows_of

LAYERS = np.linspace(1, FULL_LAYERS, 5 * (FULL_LAYERS - 1) + 1)
"""Mean layers at which the accuracy of every curve is recorded."""

BUDGETS = (2.0, 3.0, 4.0)
BATCH = 8
"""How many rows a budget's controller sees at a time."""

TIMED_AT = 3.0
"""Mean layers at which the policies are timed."""
TIMED_ROWS = 60
ROUNDS = 5
TRAINED_BATCHES = 3


def measure_all(dataset: Dataset, data: Optional[str], out: Path) -> Dict[str, Any]:
    """Return all figures of the trained runs, which are at least those of the first seed.

    The outputs of the exits are kept beside the archives.
    """
    done = [run for run in runs(dataset, out) if archive(run, out).is_file()]
    objectives: Dict[str, List[Any]] = {name: [] for name in OBJECTIVES}
    standard: List[Dict[str, Any]] = []
    first: Dict[str, Opened] = {}
    rows: List[Row] = []
    budgets: List[Any] = []
    for run in done:
        opened = open_archive(str(archive(run, out)))
        rows = rows or read_rows(opened.reader, test_path(dataset, data))
        outputs = outputs_of(opened, rows, archive(run, out).parent / "test_outputs.safetensors")
        if run.seed == dataset.seeds[0]:
            first[run.system] = opened
            if run.system == "joint":
                of_joint = outputs
                budgets = _budgets(opened, outputs, _held_out(opened, dataset, data))
        curves = {name: _curve(opened, outputs, name) for name in POLICIES}
        if run.system == TEACHER:
            standard.append({"seed": run.seed, "accuracy": curves["confidence"][-1]})
            continue
        single = tradeoff(opened, outputs, "confidence").single_exits()
        exits = [point.accuracy for point in single]
        objectives[run.system].append({"seed": run.seed, "exits": exits, "accuracy": curves})
    return {
        **describe_run(dataset, len(rows), sorted({run.seed for run in done})),
        "exit_layers": EXIT_LAYERS,
        "mean_layers": LAYERS.tolist(),
        "standard": standard,
        "objectives": objectives,
        "training_time": _training_time(first, rows),
        "extra_parameters": _extra_parameters(first),
        "budgets": budgets,
        "wall_clock": _wall_clock(first["joint"], rows, of_joint),
    }


def _held_out(opened: Opened, dataset: Dataset, data: Optional[str]) -> ExitOutputs:
    """Return the outputs of all exits on the validation rows."""
    validation = f"{data_root(dataset, data)}{dataset.train}#validation"
    return run_all_exits(*opened, read_rows(opened.reader, validation))


def tradeoff(
    opened: Opened, outputs: ExitOutputs, policy: str, held_out: Optional[ExitOutputs] = None
) -> Tradeoff:
    """Return the trade-off of a policy, with its default settings, on a model's outputs.

    # Parameters

    held_out : `ExitOutputs`, optional
        The outputs on other rows, from which `budget` learns how many layers a threshold costs.
    """
    model = opened.model
    if held_out is not None:
        model.measure_shares(held_out.logits)
    model.policy = ExitPolicy.make({"type": policy})
    return tradeoff_of(opened, outputs)


def _curve(opened: Opened, outputs: ExitOutputs, policy: str) -> List[float]:
    """Return the accuracy at each of `LAYERS`, interpolated between points of the curve.

    The first exit for every row is a point of every policy's curve, because `patience_confidence`
    does not reach it with its swept setting.
    """
    if len(opened.model.exit_layers) == 1:
        policy = "confidence"  # with one exit, all curves are the same point
    traded = tradeoff(opened, outputs, policy)
    points = [traded.single_exits()[0], *traded.curve(traded.grid())]
    x, y = zip(*sorted((p.mean_layers, p.accuracy) for p in points))
    return np.interp(LAYERS, x, y).tolist()


def _budgets(opened: Opened, outputs: ExitOutputs, held_out: ExitOutputs) -> List[Dict[str, float]]:
    """Return the mean layers that budgets lead to, in two streams.

    The rows of one are like those of calibration. The other drifts from rows on which the first
    exit is sure to rows on which it is not.
    """
    traded = tradeoff(opened, outputs, "budget", held_out)
    first = traded.probs[:, 0].max(dim=-1).values
    orders = {"plain": torch.arange(len(first)), "drifting": first.argsort(descending=True)}
    results = []
    for budget in BUDGETS:
        policy = traded.policy
        policy.swept = budget
        fixed = float(traded.curve([budget])[0].mean_layers)
        means = {name: _controlled(traded, order) for name, order in orders.items()}
        results.append({"budget": budget, "fixed threshold": fixed, **means})
    return results


def _controlled(traded: Tradeoff, order: torch.Tensor) -> float:
    """Return the mean layers of a stream in which the policy adapts its threshold."""
    steered = traded.policy.in_stream()
    answered = [steered.replay(traded.evidence.rows(rows.numpy())) for rows in order.split(BATCH)]
    return float(np.mean(np.array(traded.exit_layers)[np.concatenate(answered)] + 1))


def _training_time(first: Dict[str, Opened], rows: Sequence[Row]) -> Dict[str, Dict[str, Any]]:
    """Return the time of a whole training run relative to `joint`, from steps timed in turns."""
    steps: Dict[str, Callable[[], None]] = {}
    for name in OBJECTIVES:
        for stage in (0.0, 0.5) if OBJECTIVES[name] is STAGED else (0.0,):
            steps[f"{name} {stage}"] = _training_step(first[name], rows, stage)
    timings = alternate(steps, ROUNDS)
    results = {}
    for name in OBJECTIVES:
        parts = [timing for key, timing in timings.items() if key.split()[0] == name]
        # Each stage has as many epochs as a whole run of another objective.
        ratios = [timings["joint 0.0"].ratio(part) for part in parts]
        results[name] = {
            "ratio": sum(ratio.median for ratio in ratios),
            "quartiles": [sum(ratio.quartiles[i] for ratio in ratios) for i in (0, 1)],
        }
    return results


def _training_step(opened: Opened, rows: Sequence[Row], stage: float) -> Callable[[], None]:
    model = opened.model
    objective = model.objective
    model.policy = ExitPolicy.make({"type": "confidence"})
    train = training_steps(opened, rows[: 32 * TRAINED_BATCHES])
    if hasattr(objective, "teacher"):
        _begin(opened, rows[: 32 * TRAINED_BATCHES])

    numbers = itertools.count()

    def step() -> None:
        objective.begin_epoch(stage)
        objective.begin_step(next(numbers))
        train()

    return step


def _begin(opened: Opened, rows: Sequence[Row]) -> None:
    """Prepare the objective for a training run on the rows, without running it."""
    model, reader = opened
    loader = SimpleNamespace(reader=GivenRows(reader, rows), data_path="rows")
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(
            model.labels, model.exit_layers, model.full_layers, folder, model.temperatures.device,
            rows=lambda: rows_of([loader]),  # type: ignore[list-item]
        )  # fmt: skip
        model.objective.begin(run)


def _extra_parameters(first: Dict[str, Opened]) -> Dict[str, float]:
    """Return how many parameters exits and policies add, as a share of the standard baseline's."""
    plain = number_of_parameters(first[TEACHER])
    state = first["joint"].model.state_dict()
    learned = {
        signal: sum(state[name].numel() for name in state if part in name)
        for signal, part in (("learned_halting", ".halting."), ("predicted_depth", "depth."))
    }
    exits = number_of_parameters(first["joint"]) - plain - sum(learned.values())
    return {name: (exits + learned.get(name, 0)) / plain for name in POLICIES}


def _wall_clock(
    opened: Opened, rows: Sequence[Row], outputs: ExitOutputs
) -> Dict[str, Dict[str, Any]]:
    """Time all policies on single texts in turns, at about `TIMED_AT` layers, against all layers."""
    model, reader = opened
    step = max(1, len(rows) // TIMED_ROWS)
    batches = [tokens for tokens, _ in token_batches(reader, rows[::step][:TIMED_ROWS], 1)]
    layers: Dict[str, float] = {}
    variants: Dict[str, Callable[[], None]] = {}
    for name in POLICIES:
        traded = tradeoff(opened, outputs, name)
        points = traded.curve(traded.grid())
        nearest = min(points, key=lambda p: abs(p.mean_layers - TIMED_AT))
        policy = ExitPolicy.make({"type": name})
        policy.swept = nearest.number
        variants[name] = _timed(model, policy, batches, name, layers)
    full = ExitPolicy.make({"type": "confidence", "threshold": 1.0})
    variants["full"] = _timed(model, full, batches, "full", layers)
    timings = alternate(variants, ROUNDS)
    return {
        name: {"mean_layers": layers[name], **ratio_figures(timings[name].ratio(timings["full"]))}
        for name in POLICIES
    }


def _timed(
    model: Any, policy: ExitPolicy, batches: Sequence[Any], name: str, layers: Dict[str, float]
) -> Callable[[], None]:
    def run() -> None:
        model.policy = policy
        model.eval()
        with torch.no_grad():
            layers[name] = float(np.mean([int(model(t)["layers_run"]) for t in batches]))

    return run
