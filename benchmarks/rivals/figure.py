"""Draw accuracy against texts a second: our curves and every rival."""

from pathlib import Path
from typing import Any, Dict, List, Mapping

MARKS = ("s", "D", "^", "v", "P", "X", "*", "<", ">")


def draw(title: str, panels: Mapping[int, Dict[str, List[Any]]], target: Path) -> None:
    """Draw a panel for each batch size.

    Bars are standard errors of the accuracy, and quartiles of the speed over the rounds.

    # Parameters

    panels : `Mapping[int, Dict[str, List[Spot]]]`
        By batch size, and by name; what has several spots is a curve.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "rivals"  # the same numbers give the same file
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 4.2), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for panel, (batch_size, series) in zip(axes[0], panels.items()):
        marks = iter(MARKS)
        for number, (name, spots) in enumerate(series.items()):
            panel.errorbar(
                [s.speed for s in spots],
                [100 * s.accuracy for s in spots],
                xerr=[[s.speed - s.low for s in spots], [s.high - s.speed for s in spots]],
                yerr=[100 * s.error for s in spots],
                fmt="o-" if len(spots) > 1 else next(marks),
                markersize=4 if len(spots) > 1 else 6, linewidth=1.4, elinewidth=0.7,
                color=f"C{number}", label=name,
            )  # fmt: skip
        panel.set_xscale("log")
        low, high = panel.get_xlim()
        panel.set_xlim(min(low, 100), max(high, 100_000))
        kind = "single texts" if batch_size == 1 else f"batches of {batch_size}"
        panel.set(xlabel=f"texts a second, {kind}", title=title)
        panel.grid(alpha=0.3)
    axes[0][0].set_ylabel("accuracy (%)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small",
                  frameon=False)  # fmt: skip
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)
