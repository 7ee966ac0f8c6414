"""Turn the comparison's JSON into the figures and tables of `docs/results/comparison.md`.

Run `python -m benchmarks.compare.report`.
"""

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from benchmarks import sections
from benchmarks.compare.plan import DATASETS, OBJECTIVES, POLICIES
from benchmarks.study.report import training_rows

RESULTS = sections.RESULTS / "comparison"
PAGE = sections.RESULTS / "comparison.md"
MARKED = sections.section_pattern("compare")
SPEEDUPS = (1.5, 2.0, 3.0)


def load() -> List[Dict[str, Any]]:
    """Return the results that there are, in the order of the plan."""
    files = [RESULTS / f"{name}.json" for name in DATASETS]
    return [json.loads(file.read_text()) for file in files if file.is_file()]


class Pair:
    """Hold the curves of an objective with a policy, one for each seed.

    # Parameters

    result : `Dict[str, Any]`
    objective, policy : `str`
    """

    def __init__(self, result: Dict[str, Any], objective: str, policy: str) -> None:
        self._layers = result["mean_layers"]
        self._full = self._layers[-1]
        self.curves = np.array([r["accuracy"][policy] for r in result["objectives"][objective]])

    def at(self, speedup: float) -> float:
        """Return the accuracy at a layer speedup, the mean over the seeds."""
        return float(
            np.mean([np.interp(self._full / speedup, self._layers, c) for c in self.curves])
        )

    @property
    def area(self) -> float:
        """Return the area under the curve: the mean accuracy over mean layers from 1 to all."""
        width = self._layers[-1] - self._layers[0]
        middles = (self.curves[:, 1:] + self.curves[:, :-1]) / 2
        return float((middles * np.diff(self._layers)).sum(axis=1).mean() / width)


def matrix(result: Dict[str, Any]) -> str:
    """Return the areas under the curves of all pairs, as a table with a row for each objective."""
    lines = [["trained with \\ stopped by", *POLICIES, "last exit"]]
    lines.append(["---", *["---:"] * (len(POLICIES) + 1)])
    for objective in OBJECTIVES:
        pairs = [Pair(result, objective, policy) for policy in POLICIES]
        last = float(np.mean([run["exits"][-1] for run in result["objectives"][objective]]))
        lines.append([objective, *(_percent(pair.area) for pair in pairs), _percent(last)])
    return _table(lines)


def full_table(result: Dict[str, Any]) -> str:
    """Return a table of every pair: accuracy at some speedups, area, and what it costs."""
    lines = [
        ["objective", "policy", *(f"at {s:g}x" for s in SPEEDUPS), "area", "training time",
         "extra parameters"],
        ["---", "---", *["---:"] * (len(SPEEDUPS) + 3)],
    ]  # fmt: skip
    for objective in OBJECTIVES:
        time = result["training_time"][objective]["ratio"]
        for policy in POLICIES:
            pair = Pair(result, objective, policy)
            figures = [_percent(pair.at(speedup)) for speedup in SPEEDUPS]
            extra = result["extra_parameters"][policy]
            lines.append(
                [objective, policy, *figures, _percent(pair.area), f"{time:.2f}x", f"{extra:+.3%}"]
            )
    return _table(lines)


def short_table(result: Dict[str, Any]) -> str:
    """Return a table of each objective with `confidence`, then of `joint` with each policy."""
    lines = [
        ["", *(f"at {s:g}x" for s in SPEEDUPS), "area", "training time", "wall-clock at 2x"],
        ["---", *["---:"] * (len(SPEEDUPS) + 3)],
    ]
    for objective in OBJECTIVES:
        cells = _cells(Pair(result, objective, "confidence"))
        lines.append([objective, *cells, f"{result['training_time'][objective]['ratio']:.2f}x", ""])
    for policy in POLICIES[1:]:
        clock = result["wall_clock"][policy]
        lines.append(
            [f"joint, {policy}", *_cells(Pair(result, "joint", policy)), "", _clock(clock)]
        )
    lines[2][-1] = _clock(result["wall_clock"]["confidence"])
    return _table(lines)


def compressors_table(rows: List[Dict[str, Any]]) -> str:
    """Return a table of pruning, quantisation and exits, alone and together."""
    lines = [
        ["", "accuracy", "layer speedup", "p50 of single texts", "wall-clock speedup, p50",
         "wall-clock speedup, all texts"],
        ["---", *["---:"] * 5],
    ]  # fmt: skip
    for row in rows:
        speedups = [
            "{:.2f}x ({:.2f} to {:.2f})".format(*row[f"{figure}_speedup"])
            for figure in ("p50", "throughput")
        ]
        milliseconds = f"{row['p50_milliseconds']:.2f} ms"
        accuracy, layers = _percent(row["accuracy"]), f"{row['layer_speedup']:.2f}x"
        lines.append([row["name"], accuracy, layers, milliseconds, *speedups])
    return _table(lines)


def _cells(pair: Pair) -> List[str]:
    return [*(_percent(pair.at(speedup)) for speedup in SPEEDUPS), _percent(pair.area)]


def _clock(timed: Dict[str, Any]) -> str:
    return f"{timed['ratio']:.2f}x ({timed['mean_layers']:.2f} layers)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _table(lines: List[List[str]]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def figure(result: Dict[str, Any], target: Path) -> None:
    """Draw a panel for each objective, with a line for each policy and `joint` as reference."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "compare"  # the same numbers give the same file
    import matplotlib.pyplot as plt

    drawing, panels = plt.subplots(
        2, (len(OBJECTIVES) + 1) // 2, figsize=(13, 6), sharex=True, sharey=True,
        layout="constrained",
    )  # fmt: skip
    layers = np.array(result["mean_layers"])
    reference = 100 * Pair(result, "joint", "confidence").curves.mean(axis=0)
    for axes, objective in zip(panels.flat, OBJECTIVES):
        axes.plot(layers, reference, color="0.75", linewidth=4, label="joint, confidence")
        for policy in POLICIES:
            curve = 100 * Pair(result, objective, policy).curves.mean(axis=0)
            axes.plot(layers, curve, linewidth=1.2, label=policy)
        axes.set_title(objective, fontsize="medium")
        axes.grid(alpha=0.3)
    for axes in panels[1]:
        axes.set_xlabel("mean layers run")
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy (%)")
    lines, names = panels.flat[0].get_legend_handles_labels()
    drawing.legend(lines, names, loc="outside lower center", ncols=4, frameon=False)
    drawing.suptitle(result["dataset"])
    drawing.savefig(target, metadata={"Date": None})
    plt.close(drawing)


def section(results: List[Dict[str, Any]]) -> str:
    """Return the generated part of the page."""
    return "".join(_dataset_section(result) for result in results)


def _dataset_section(result: Dict[str, Any]) -> str:
    name = result["dataset"]
    seeds = len(result["seeds"])
    standard = _percent(float(np.mean([run["accuracy"] for run in result["standard"]])))
    budgets = "; ".join(
        f"{b['budget']:g}: {b['fixed threshold']:.2f}, {b['plain']:.2f}, {b['drifting']:.2f}"
        for b in result["budgets"]
    )
    return (
        f"**{name}** ({training_rows(result)}, {result['rows']['test']} test rows, {sections.counted(seeds, 'seed')}, "
        f"{result['date']}, {result['machine']['processor']}, "
        f"{sections.counted(result['machine']['threads'], 'thread')}; the standard baseline has {standard}%; all pairs in "
        f"[{name}.md](comparison/{name}.md)):\n\n"
        f"{short_table(result)}\n"
        f"Area under the curve of every pair, and the accuracy of the last exit:\n\n"
        f"{matrix(result)}\n"
        f"![{name}: curves of all pairs](comparison/{name}.svg)\n\n"
        "Budgets of mean layers, and what they came to by a fixed threshold, with the controller (batches of 8), "
        f"and with it when the texts drift from easy to hard: {budgets}.\n\n"
        "Compressors, against the standard baseline in eager float32 (pruned: half of the heads and of "
        "the feed-forward width, one epoch of fine-tuning; int8: ONNX Runtime; exits: `joint`, at the "
        "fastest threshold that loses at most a point on the validation rows):\n\n"
        f"{compressors_table(result['compressors'])}\n"
    )


def write() -> None:
    """Draw the figures, write the tables of all pairs, put the generated part into the page."""
    results = load()
    for result in results:
        figure(result, RESULTS / f"{result['dataset']}.svg")
        title = f"# {result['dataset']}: every objective with every policy\n\n"
        (RESULTS / f"{result['dataset']}.md").write_text(title + full_table(result))
    sections.put_section(MARKED, section(results), PAGE)


if __name__ == "__main__":
    write()
