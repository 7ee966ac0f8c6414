"""Draw where texts leave before and after small changes."""

from pathlib import Path
from typing import Mapping, Sequence

from sledgehammer.analysis.plots import literally, pyplot
from sledgehammer.support.files import replacing


def plot_slowdown(
    layers: Mapping[str, Sequence[int]], exit_layers: Sequence[int], target: Path, title: str
) -> None:
    """Draw the share of the texts that leave at each exit, as groups of bars, into an image.

    # Parameters

    layers : `Mapping[str, Sequence[int]]`
        For each group of texts, by the name that the legend gives it, the layers that they ran.
    exit_layers : `Sequence[int]`
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    width = 0.8 / len(layers)
    for group, (name, counts) in enumerate(layers.items()):
        mean = sum(counts) / len(counts)
        left = [exit + (group - (len(layers) - 1) / 2) * width for exit in range(len(exit_layers))]
        shares = [100 * sum(n == at + 1 for n in counts) / len(counts) for at in exit_layers]
        label = literally(f"{name}: {mean:.2f} layers on average")
        axes.bar(left, shares, width, label=label, color="0.6" if group == 0 else f"C{group - 1}")
    axes.set_xticks(range(len(exit_layers)), [f"layer {layer}" for layer in exit_layers])
    axes.set(xlabel="exit that answers", ylabel="texts (%)")
    axes.set_title(literally(title), fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize="small")
    with replacing(target) as partial:
        figure.savefig(partial, format=target.suffix[1:], dpi=160)
    plt.close(figure)
