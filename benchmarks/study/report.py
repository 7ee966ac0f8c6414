"""Turn the study's JSON into the figures and tables of `docs/results/study.md`.

Run `python -m benchmarks.study.report`.
"""

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from benchmarks import sections
from benchmarks.study.plan import DATASETS

RESULTS = sections.RESULTS / "study"
PAGE = sections.RESULTS / "study.md"
MARKED = sections.section_pattern("study")

LAYERS = (0.3, 0.5, 1, 2, 3, 4, 6)
"""Mean layers at which the systems are compared: the layers of the baselines, and others."""

NAMES = {
    "standard": "standard baseline",
    "efficient": "efficient baselines",
    "multi_exit": "multi-exit, calibrated",
    "uncalibrated": "the same, uncalibrated",
    "random_exit": "random-exit training",
    "lexical": "multi-exit, with the lexical exit",
    "lexical_mixing": "the same, mixed in",
    "standard_mixing": "standard baseline, lexical exit mixed in",
    "efficient_mixing": "efficient baselines, lexical exit mixed in",
}


def load() -> List[Dict[str, Any]]:
    """Return the results that there are, in the order of the plan."""
    files = [RESULTS / f"{name}.json" for name in DATASETS]
    return [json.loads(file.read_text()) for file in files if file.is_file()]


def accuracies_at(system: Dict[str, Any], layers: float) -> List[float]:
    """Return the accuracy of each run at so many mean layers, interpolated on its curve.

    Runs whose curve does not reach so far are left out.
    """
    accuracies = []
    for run in system["runs"]:
        curve = sorted((p["mean_layers"], p["accuracy"]) for p in run["curve"])
        x, y = zip(*curve)
        if x[0] - 1e-6 <= layers <= x[-1] + 1e-6:
            accuracies.append(float(np.interp(layers, x, y)))
    return accuracies


def table(results: List[Dict[str, Any]]) -> str:
    """Return a Markdown table of every system's accuracy at the baselines' layers, and its cost."""
    all_rows = [(result["dataset"], _systems(result["systems"])) for result in results]
    reached = [
        layers
        for layers in LAYERS
        if any(_accuracy(row, layers) for _, rows in all_rows for row in rows.values())
    ]
    header = [
        "dataset", "system", *(f"{n} layer{'' if n == 1 else 's'}" for n in reached),
        "training time", "extra parameters",
    ]  # fmt: skip
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    for dataset, rows in all_rows:
        for name, row in rows.items():
            cells = [_accuracy(row, layers) for layers in reached]
            lines.append([dataset, NAMES[name], *cells, *_costs(row)])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _systems(measured: Dict[str, Any]) -> Dict[str, List[Dict[str, Any]]]:
    """Return the systems of each line of the table, those that have runs."""
    efficient = {
        f"efficient{help}": [f"efficient_{layer}{help}" for layer in (0, 1, 3)]
        for help in ("", "_mixing")
    }
    lines = {}
    for name in NAMES:
        systems = [measured[n] for n in efficient.get(name, [name]) if n in measured]
        if any(system["runs"] for system in systems):
            lines[name] = systems
    return lines


def _accuracy(systems: List[Dict[str, Any]], layers: float) -> str:
    for system in systems:
        accuracies = accuracies_at(system, layers)
        if accuracies:
            spread = f" ± {100 * np.std(accuracies, ddof=1):.1f}" if len(accuracies) > 1 else ""
            return f"{100 * np.mean(accuracies):.1f}{spread}{_clock(system, layers)}"
    return ""


def _clock(system: Dict[str, Any], layers: float) -> str:
    """Return the wall-clock speedup that was measured nearest to so many mean layers."""
    points = system.get("wall_clock", [])
    near = [p for p in points if abs(p["mean_layers"] - layers) < 0.35]
    if not near:
        return ""
    return f" ({min(near, key=lambda p: abs(p['mean_layers'] - layers))['ratio']:.2f}x)"


def _costs(systems: List[Dict[str, Any]]) -> List[str]:
    if "training_time" not in systems[0]:
        return ["", ""]
    times = " / ".join(f"{system['training_time']['ratio']:.2f}x" for system in systems)
    extra = systems[0]["extra_parameters"]
    return [times, f"{extra:+.4%}" if len(systems) == 1 and extra > 0 else ""]


STYLES = {
    "multi_exit": "-", "uncalibrated": "--", "random_exit": ":", "lexical": "-", "lexical_mixing": "-",
}  # fmt: skip
FEWEST_LAYERS = 0.25
"""Where the curves with a lexical exit, which go on to no layers at all, leave the figure."""
BASELINES = ("efficient_0", "efficient_1", "efficient_3", "standard")


def figure(result: Dict[str, Any], target: Path) -> None:
    """Draw accuracy against layer speedup and against wall-clock speedup, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "study"  # the same numbers give the same file
    import matplotlib.pyplot as plt

    systems = {name: s for name, s in result["systems"].items() if s["runs"]}
    drawing, (by_layers, by_clock) = plt.subplots(
        1, 2, figsize=(9, 3.6), sharey=True, layout="constrained"
    )
    for name, style in STYLES.items():
        if name in systems:
            _draw_curve(systems[name], name, style, by_layers, by_clock)
    by_layers.plot(
        [6, 3, 1.5, 1], _last_accuracies(systems, ""), "ks-", linewidth=0.8, label="baselines"
    )
    clocks = [systems[b]["wall_clock"][0]["ratio"] for b in BASELINES]
    by_clock.plot(clocks, _last_accuracies(systems, ""), "ks-", linewidth=0.8)
    if "lexical" in systems:
        mixed = _last_accuracies(systems, "_mixing")
        by_layers.plot(
            [6, 3, 1.5, 1], mixed, "kD--", markersize=4, linewidth=0.8,
            label="baselines, lexical exit mixed in",
        )  # fmt: skip
        by_layers.set_xscale("log")
        ticks = (1, 2, 3, 6, 12, 24)
        by_layers.set_xticks(ticks, map(str, ticks))
    by_layers.set(xlabel="layer speedup", ylabel="accuracy (%)", title=result["dataset"])
    by_clock.set(xlabel="wall-clock speedup, batch size 1")
    by_layers.legend(frameon=False, fontsize="x-small" if "lexical" in systems else "small")
    for axes in (by_layers, by_clock):
        axes.grid(alpha=0.3)
    drawing.savefig(target, metadata={"Date": None})
    plt.close(drawing)


def _draw_curve(
    system: Dict[str, Any], name: str, style: str, by_layers: Any, by_clock: Any
) -> None:
    """Draw the mean over the seeds of a system's curve, and how far the seeds are apart."""
    fewest = max(FEWEST_LAYERS, min(p["mean_layers"] for p in system["runs"][0]["curve"]))
    layers = np.geomspace(fewest, 6, 51) if fewest < 1 else np.linspace(1, 6, 51)
    runs = [np.interp(layers, *_xy(run["curve"])) for run in system["runs"]]
    mean, spread = 100 * np.mean(runs, axis=0), 100 * np.std(runs, axis=0)
    (line,) = by_layers.plot(6 / layers, mean, style, label=NAMES[name])
    by_layers.fill_between(6 / layers, mean - spread, mean + spread, alpha=0.15, linewidth=0)
    if "wall_clock" in system:
        points = sorted(system["wall_clock"], key=lambda p: p["ratio"])
        at = np.interp([p["mean_layers"] for p in points], layers, mean)
        by_clock.plot(
            [p["ratio"] for p in points], at, style, marker="o", markersize=4,
            color=line.get_color(),
        )  # fmt: skip


def _last_accuracies(systems: Dict[str, Any], help: str) -> List[float]:
    """Return the accuracy of each baseline in percent, the mean over its seeds."""
    return [
        100 * float(np.mean([run["curve"][-1]["accuracy"] for run in systems[b + help]["runs"]]))
        for b in BASELINES
    ]


def _xy(curve: List[Dict[str, Any]]) -> Any:
    return zip(*sorted((p["mean_layers"], p["accuracy"]) for p in curve))


def section(results: List[Dict[str, Any]]) -> str:
    """Return the generated part of the page."""
    figures = "".join(
        f"![{r['dataset']}: accuracy against speedup](study/{r['dataset']}.svg)\n" for r in results
    )
    rows = "".join(
        f"- {r['dataset']}: {training_rows(r)}; {r['rows']['validation']} held out of the training "
        f"file to fit the temperatures, {r['rows']['test']} test rows; at most {r['max_length']} word "
        f"pieces; {sections.counted(len(r['seeds']), 'seed')} "
        f"({r['date']}, {r['machine']['processor']}, "
        f"{sections.counted(r['machine']['threads'], 'thread')}, "
        f"torch {r['machine']['torch'].partition('+')[0]}). {_oracle(r)}\n"
        for r in results
    )
    return f"{figures}\n{table(results)}\n{rows}"


def training_rows(result: Dict[str, Any]) -> str:
    """Return what the models were trained on, in words."""
    rows = result["rows"]["train"]
    return "trained on all other rows" if rows is None else f"trained on {rows} rows"


def _oracle(result: Dict[str, Any]) -> str:
    points = [run["curve"][0] for run in result["systems"]["oracle"]["runs"]]
    accuracy = np.mean([point["accuracy"] for point in points])
    layers = np.mean([point["mean_layers"] for point in points])
    return f"The oracle: {accuracy:.1%} with {layers:.2f} layers"


def write() -> None:
    """Draw the figures and put the generated part into the page."""
    results = load()
    for result in results:
        figure(result, RESULTS / f"{result['dataset']}.svg")
    sections.put_section(MARKED, section(results), PAGE)


if __name__ == "__main__":
    write()
