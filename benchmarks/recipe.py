"""Compare recipes for the exits: their pooling and learning rate, on validation rows.

Trains the study's multi-exit model (`joint`, small backbone) once for each recipe and seed, and
writes the accuracy of every exit on rows that were held out of the training file, and the table of
`docs/results/recipe.md`:

    python -m benchmarks.recipe sst --data DATA

What is trained is not trained again. The test rows are not touched, so that the study may use
them after a recipe was chosen here.
"""

import argparse
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from tabulate import tabulate

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from benchmarks import sections
from benchmarks.study.plan import DATASETS, EXIT_LAYERS, Dataset
from benchmarks.study.plan import Run as StudyRun

RESULTS = sections.RESULTS / "recipe"
PAGE = sections.RESULTS / "recipe.md"
MARKED = sections.section_pattern("recipe")

RATE = "trainer.optimizer.parameter_groups.0.1.lr"
RECIPES: Dict[str, Dict[str, Any]] = {
    "mean, 1e-2": {RATE: 1e-2},
    "attention, 1e-2": {"model.pooling": "attention", RATE: 1e-2},
}
"""What each recipe changes in the study's config: pooling, and the exits' learning rate."""


@dataclass(frozen=True)
class Run(StudyRun):
    """Name a training run: a recipe (as `system`) on a dataset, with a seed."""

    @property
    def name(self) -> str:
        """Return the name of the run's folder."""
        return f"{self.system}-{self.seed}".replace(", ", "-").replace(" ", "-")

    @property
    def changes(self) -> Dict[str, Any]:
        """Return what the run changes in a config, besides the dataset and the seed."""
        return {"model.exit_layers": EXIT_LAYERS, **RECIPES[self.system]}


def runs(dataset: Dataset) -> List[Run]:
    """Return all runs, seed by seed."""
    return [Run(dataset, recipe, seed) for seed in dataset.seeds for recipe in RECIPES]


def accuracies(run: Run, out: Path) -> List[float]:
    """Return the accuracy of each exit of a trained run on the validation rows."""
    metrics = json.loads((out / run.dataset.name / run.name / "metrics.json").read_text())
    return [metrics[f"best_validation_exit_{layer}_accuracy"] for layer in EXIT_LAYERS]


def summary(dataset: Dataset, out: Path) -> List[Dict[str, Any]]:
    """Return, for each recipe, the accuracy of every exit: its mean over the seeds and deviation."""
    table = []
    for recipe in RECIPES:
        each = 100 * np.array([accuracies(Run(dataset, recipe, s), out) for s in dataset.seeds])
        deviation = each.std(axis=0, ddof=1) if len(each) > 1 else np.full(each.shape[1], np.nan)
        row: Dict[str, Any] = {"pooling, rate": recipe}
        for layer, mean, spread in zip(EXIT_LAYERS, each.mean(axis=0), deviation):
            row[f"exit {layer}"] = f"{mean:.1f} ± {spread:.1f}"
        row["mean"] = f"{each.mean():.2f}"
        table.append(row)
    return table


def section() -> str:
    """Return a Markdown table for each dataset with results."""
    parts = []
    for name in DATASETS:
        file = RESULTS / f"{name}.json"
        if file.is_file():
            table = json.loads(file.read_text(encoding="utf-8"))
            parts.append(f"\n## {name}\n\n{tabulate(table, headers='keys', tablefmt='github')}\n")
    return "".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=list(DATASETS))
    parser.add_argument("--data", help="a folder with the datasets; the official downloads if none")
    parser.add_argument("--out", type=Path, default=Path("out/recipe"), help="trained archives")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    arguments = parser.parse_args()

    import sledgehammer.plugin  # noqa: F401
    from benchmarks.study.training import train_all
    from sledgehammer.commands.base import print_table

    dataset = replace(DATASETS[arguments.dataset], seeds=tuple(arguments.seeds))
    train_all(runs(dataset), arguments.data, arguments.out)
    table = summary(dataset, arguments.out)
    print_table(table)
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{dataset.name}.json"
    target.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    sections.put_section(MARKED, section(), PAGE)


if __name__ == "__main__":
    main()
