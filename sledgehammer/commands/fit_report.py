"""Show what a fitted model is worth on its test rows: a table, ten texts, a page."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tabulate import tabulate

from sledgehammer.analysis.all_exits import ExitOutputs, run_all_exits, tradeoff_of
from sledgehammer.analysis.bootstrap import accuracy_band
from sledgehammer.analysis.plots import plot_tradeoff
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.benchmark.machine import describe_machine
from sledgehammer.commands.base import write_json
from sledgehammer.commands.fit_plan import FitOptions, FitPlan
from sledgehammer.commands.fit_run import ENGINE
from sledgehammer.commands.kept_card import keep_card
from sledgehammer.commands.kept_curve import keep_curve_of
from sledgehammer.commands.tradeoff_report import curves_of, series
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.engine import Engine, load
from sledgehammer.engine.manifest import read, write
from sledgehammer.engine.speed import Speed
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.support.jsonl import text_or_pair

PAGE, REPORT = "index.html", "report.json"

WIDTH = 100
"""Columns of the terminal that the output is made for."""

TIMED_TEXTS = 200
RANKED_TEXTS = 1000
SHOWN_TEXTS = 10

COLORS = (32, 36, 34, 33, 35, 31)
"""Of the exits, from the lowest: green, cyan, blue, yellow, magenta, red."""


class Times(NamedTuple):
    """Hold the mean seconds for a single text, with early exits and without."""

    early: float
    full: float

    @property
    def speedup(self) -> float:
        """How many times faster early exits are."""
        return self.full / self.early


def print_plan(options: FitOptions, plan: FitPlan) -> None:
    """Print what is trained, and on what."""
    rows, reader = plan.rows, plan.config["dataset_reader"]
    layers = ", ".join(map(str, plan.config["model"]["exit_layers"]))
    labels = ", ".join(f"{name} ({count:,})" for name, count in _most_frequent(plan.labels))
    print(f"data       {options.data}: {sum(rows.values()):,} rows")
    print(f"labels     {labels}")
    print(f"model      {reader['model_name']}, exits after layers {layers}, and before the first")
    held_out = ", ".join(f"{rows[p]:,} {p}" for p in ("validation", "calibration", "test"))
    print(f"rows       {rows['train']:,} to train on; held out by their texts: {held_out}")
    epochs = plan.config["trainer"]["num_epochs"]
    passes = "once" if epochs == 1 else f"{epochs} times"
    if plan.training_rows < rows["train"]:
        print(
            f"training   {options.minutes:g} minutes are enough for about {plan.training_rows:,} of "
            f"these rows, {passes}\n"
            f"           (measured here); the exit before the first layer learns from all"
        )
    else:
        print(f"training   on all of them, {passes}")


def _most_frequent(labels: Dict[str, int], most: int = 5) -> "List[tuple[str, int]]":
    ordered = sorted(labels.items(), key=lambda item: -item[1])
    rest = ordered[most:]
    others = [(f"{len(rest)} others", sum(count for _, count in rest))] if rest else []
    return ordered[:most] + others


def report_fit(options: FitOptions, plan: FitPlan) -> Dict[str, Any]:
    """Run the exported model on the test rows; print and write what it gives.

    # Returns

    The figures, as `report.json` has them.
    """
    folder = options.output
    opened = open_archive(str(folder / ENGINE))
    rows = read_rows(opened.reader, f"{options.data}#test")
    outputs = run_all_exits(opened.model, opened.reader, rows)
    tradeoff = tradeoff_of(opened, outputs)
    chosen_json = json.loads((folder / "tradeoff.json").read_text(encoding="utf-8"))
    threshold = float(chosen_json["chosen"]["threshold"])
    full, chosen = tradeoff.curve([tradeoff.full, threshold])
    engine = load(folder / ENGINE)
    times = time_single_texts(engine, rows, threshold, tradeoff.full)
    print(f"\nCurve on the {len(rows):,} test rows, in int8:\n")
    _print_curve(tradeoff, full, chosen)
    print(f"\n{_guarantee(options, chosen_json, chosen)}")
    print(
        f"On the {len(rows):,} test rows: {chosen.accuracy:.1%} right, against {full.accuracy:.1%} "
        f"of the full model ({100 * (chosen.accuracy - full.accuracy):+.1f} points),\n"
        f"with {_fewer(chosen)}; a text alone takes {1000 * times.early:.1f} ms instead of "
        f"{1000 * times.full:.1f} ms ({times.speedup:.1f}x faster).\n"
    )
    if chosen.mean_layers == 0:
        print(
            "The full model is no better than the exit that reads words alone: give the network "
            "more rows,\nor more --minutes.\n"
        )
    print_texts(engine, rows, threshold)
    _keep(folder / ENGINE, opened, outputs, times, chosen, options)
    page = _write_page(options, tradeoff, chosen)
    report = {
        "data": options.data, "rows": plan.rows, "training_rows": plan.training_rows,
        "guarantee": chosen_json["chosen"], "chosen": chosen, "full": full,
        "seconds_per_text": times,
    }  # fmt: skip
    write_json(report, folder / REPORT)
    print(f"\nwrote {folder}/" + (f" (look at {page})" if page else ""))
    return report


def _keep(
    directory: Path, opened: Opened, outputs: ExitOutputs, times: Times, chosen: Point,
    options: FitOptions,
) -> None:  # fmt: skip
    """Let the exported model carry what was measured on the test rows."""
    manifest = read(directory)
    keep_curve_of(directory, opened, outputs, f"{options.data}#test")
    timed = min(TIMED_TEXTS, len(outputs.hashes))
    Speed(timed, times.early, times.full, chosen.number, describe_machine()).save(directory)
    write(directory, manifest)
    # The model is that of the folder; a reader of either finds its card.
    for place in (directory, options.output):
        keep_card(directory, options.output, place)


def _fewer(point: Point) -> str:
    if point.mean_layers == 0:
        return "no layers at all"
    return f"{point.layer_speedup:.1f}x fewer layers"


def _guarantee(options: FitOptions, report: Dict[str, Any], chosen: Point) -> str:
    """Return what is guaranteed of the chosen threshold, in words."""
    drop, sure = f"{options.max_accuracy_drop:g}", f"{1 - options.delta:g}"
    if chosen.setting == 1.0:
        return (
            f"No threshold below 1 can be shown to cost at most {drop} of accuracy with probability "
            f"{sure}, on\n{report['rows']:,} calibration rows: every text runs all layers. More rows "
            "or a larger --max-accuracy-drop help."
        )
    return (
        f"Chosen threshold {chosen.shown}, on {report['rows']:,} calibration rows: with probability "
        f"at least {sure} it costs\nat most {drop} of the full model's accuracy on texts like these."
    )


def _print_curve(tradeoff: Tradeoff, full: Point, chosen: Point, most: int = 6) -> None:
    grid = tradeoff.curve(tradeoff.grid())
    step = max(len(grid) // most, 1)
    points = {point.setting: point for point in [*grid[::step], chosen, full]}
    names = {chosen.setting: "chosen", full.setting: "full model"}
    table = [
        {
            "threshold": f"{point.setting:.4g}",
            "": names.get(point.setting, ""),
            "accuracy": f"{point.accuracy:.1%}",
            "layers": f"{point.mean_layers:.2f}",
            "speedup": point.speedup_shown,
            **{_exit_name(layer): f"{share:.0%}" for layer, share in point.shares.items()},
        }
        for point in sorted(points.values(), key=lambda p: float(p.setting or 0))  # type: ignore[arg-type]
    ]
    print(tabulate(table, headers="keys", disable_numparse=True, stralign="right"))


def _exit_name(layer: int) -> str:
    return "words" if layer < 0 else f"exit {layer}"


def time_single_texts(engine: Engine, rows: Sequence[Row], threshold: float, full: float) -> Times:
    """Time some texts, each alone, in turns with early exits and without."""
    step = max(len(rows) // TIMED_TEXTS, 1)
    texts = [text_or_pair(row.texts) for row in rows[::step][:TIMED_TEXTS]]
    engine.predict(texts[:5], threshold)
    spent = [0.0, 0.0]
    for text in texts:
        for i, setting in enumerate((threshold, full)):
            start = time.perf_counter()
            engine.predict([text], setting)
            spent[i] += time.perf_counter() - start
    return Times(spent[0] / len(texts), spent[1] / len(texts))


def print_texts(engine: Engine, rows: Sequence[Row], threshold: float) -> None:
    """Print ten texts, easy to hard, each with the exit that answered it and the time it took."""
    rows = rows[:: max(len(rows) // RANKED_TEXTS, 1)]
    answers = engine.predict([text_or_pair(row.texts) for row in rows], threshold)
    layers = engine.manifest.exit_layers
    print("Ten test texts, easy to hard:\n")
    for i in _spread(answers, layers):
        start = time.perf_counter()
        answer = engine.predict([text_or_pair(rows[i].texts)], threshold)[0]
        spent = 1000 * (time.perf_counter() - start)
        mark = "right" if answer["label"] == rows[i].label else "wrong"
        line = (
            f"{_exit_name(answer['exit_layer']):>7} {spent:6.1f} ms  {answer['label'][:14]:<14} "
            f"{mark}  {' '.join(' / '.join(rows[i].texts).split())}"
        )
        print(_colored(line[:WIDTH], layers.index(answer["exit_layer"])))


def _spread(answers: Sequence[Dict[str, Any]], layers: Sequence[int]) -> List[int]:
    """Return the positions of texts that stop at each exit about as often as all do, in order."""
    by_exit: Dict[int, List[int]] = {layer: [] for layer in layers}
    for i, answer in enumerate(answers):
        by_exit[answer["exit_layer"]].append(i)
    stopped = {layer: found for layer, found in by_exit.items() if found}
    # At least one of each exit; the others go where most texts stop.
    counts = dict.fromkeys(stopped, 1)
    while sum(counts.values()) < min(SHOWN_TEXTS, len(answers)):
        open_exits = [layer for layer in stopped if counts[layer] < len(stopped[layer])]
        fullest = max(open_exits, key=lambda layer: len(stopped[layer]) / counts[layer])
        counts[fullest] += 1
    chosen: List[int] = []
    for layer, count in counts.items():
        surest = sorted(stopped[layer], key=lambda i: -answers[i]["confidence"])
        chosen += [surest[(2 * k + 1) * len(surest) // (2 * count)] for k in range(count)]
    return chosen


def _colored(line: str, exit: int) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return line
    return f"\033[{COLORS[min(exit, len(COLORS) - 1)]}m{line}\033[0m"


def _write_page(options: FitOptions, tradeoff: Tradeoff, chosen: Point) -> Optional[Path]:
    """Draw the curve as a page, if the libraries for it are installed."""
    try:
        import plotly  # noqa: F401
    except ImportError:
        print("\nno page with the curve: pip install 'allennlp-sledgehammer[plot]'")
        return None
    curve = tradeoff.curve(tradeoff.grid())
    report = {
        "policy": tradeoff.policy.config(), "exit_layers": tradeoff.exit_layers,
        "curves": curves_of(tradeoff, curve),
        "bands": {"policy": accuracy_band(tradeoff, curve)}, "versus": {},
    }  # fmt: skip
    target = options.output / PAGE
    title = f"{Path(options.data).name} ({len(tradeoff.label):,} test rows)"
    plot_tradeoff(series(report), target, title, chosen)
    return target
