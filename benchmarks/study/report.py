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

LAYERS = (1, 2, 4, 6)
"""Mean layers at which the systems are compared: the layers of the baselines."""

NAMES = {
    "standard": "standard baseline",
    "efficient": "efficient baselines",
    "multi_exit": "multi-exit, calibrated",
    "uncalibrated": "the same, uncalibrated",
    "random_exit": "random-exit training",
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
    header = [
        "dataset", "system", *(f"{n} layer{'s' if n > 1 else ''}" for n in LAYERS),
        "training time", "extra parameters",
    ]  # fmt: skip
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    for result in results:
        systems = result["systems"]
        rows = {name: [systems[name]] for name in NAMES if name in systems}
        rows["efficient"] = [systems[f"efficient_{layer}"] for layer in (0, 1, 3)]
        for name in NAMES:
            cells = [_accuracy(rows[name], layers) for layers in LAYERS]
            lines.append([result["dataset"], NAMES[name], *cells, *_costs(rows[name])])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _accuracy(systems: List[Dict[str, Any]], layers: int) -> str:
    for system in systems:
        accuracies = accuracies_at(system, layers)
        if accuracies:
            spread = f" ± {100 * np.std(accuracies, ddof=1):.1f}" if len(accuracies) > 1 else ""
            return f"{100 * np.mean(accuracies):.1f}{spread}{_clock(system, layers)}"
    return ""


def _clock(system: Dict[str, Any], layers: int) -> str:
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


def figure(result: Dict[str, Any], target: Path) -> None:
    """Draw accuracy against layer speedup and against wall-clock speedup, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "study"  # the same numbers give the same file
    import matplotlib.pyplot as plt

    systems = result["systems"]
    drawing, (by_layers, by_clock) = plt.subplots(
        1, 2, figsize=(9, 3.6), sharey=True, layout="constrained"
    )
    styles = {"multi_exit": "-", "uncalibrated": "--", "random_exit": ":"}
    for name, style in styles.items():
        layers = np.linspace(1, 6, 51)
        runs = [np.interp(layers, *_xy(run["curve"])) for run in systems[name]["runs"]]
        mean, spread = 100 * np.mean(runs, axis=0), 100 * np.std(runs, axis=0)
        (line,) = by_layers.plot(6 / layers, mean, style, label=NAMES[name])
        by_layers.fill_between(6 / layers, mean - spread, mean + spread, alpha=0.15, linewidth=0)
        if "wall_clock" in systems[name]:
            points = sorted(systems[name]["wall_clock"], key=lambda p: p["ratio"])
            at = np.interp([p["mean_layers"] for p in points], layers, mean)
            by_clock.plot(
                [p["ratio"] for p in points], at, style, marker="o", markersize=4,
                color=line.get_color(),
            )  # fmt: skip
    baselines = ["efficient_0", "efficient_1", "efficient_3", "standard"]
    accuracy = [
        100 * np.mean([r["curve"][-1]["accuracy"] for r in systems[b]["runs"]]) for b in baselines
    ]
    by_layers.plot([6, 3, 1.5, 1], accuracy, "ks-", linewidth=0.8, label="baselines")
    clocks = [systems[b]["wall_clock"][0]["ratio"] for b in baselines]
    by_clock.plot(clocks, accuracy, "ks-", linewidth=0.8)
    by_layers.set(xlabel="layer speedup", ylabel="accuracy (%)", title=result["dataset"])
    by_clock.set(xlabel="wall-clock speedup, batch size 1")
    by_layers.legend(frameon=False, fontsize="small")
    for axes in (by_layers, by_clock):
        axes.grid(alpha=0.3)
    drawing.savefig(target, metadata={"Date": None})
    plt.close(drawing)


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
        f"pieces; {len(r['seeds'])} seed{'s' if len(r['seeds']) > 1 else ''} "
        f"({r['date']}, {r['machine']['processor']}, {r['machine']['threads']} threads, "
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
