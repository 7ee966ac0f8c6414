"""Say what is compared: objectives, policies, and the training runs that this takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Tuple

from benchmarks.study import plan as study
from benchmarks.study.training import archive

EXIT_LAYERS = list(range(study.FULL_LAYERS))

STAGED = {"trainer.num_epochs": 4}
"""Twice the epochs of the others: half of them for the backbone, then half for the exits."""

OBJECTIVES: Dict[str, Dict[str, Any]] = {
    "joint": {},
    "random_exit": {},
    "weighted": {},
    "two_stage": STAGED,
    "self_distillation": STAGED,
    "alternating": {},
    "sweet": {},
    "distillation": {},
}
"""What each objective changes in a config, besides its name."""

PLANNED: Dict[str, Dict[str, Any]] = {
    "mixed": STAGED,
    "exit_weighted": {},
    "gradient_equilibrium": {},
    "gatekeeper": {},
}
"""The same for objectives that have not been compared yet. They join `OBJECTIVES` when the whole
comparison is run again, since all of its figures come from the same runs."""

TEACHER = "standard"
"""The system that teaches `distillation`: the backbone with one exit at the top."""

POLICIES = (
    "confidence",
    "entropy",
    "normalized_entropy",
    "patience",
    "patience_confidence",
    "learned_halting",
    "predicted_depth",
)
"""The policies that are combined with every objective. `budget` is not one of them: it chooses the
threshold of `confidence`, and has the same curve. How well it keeps to a budget is measured apart."""

DATASETS = {
    "sst": replace(study.DATASETS["sst"], seeds=(1, 2)),
    # Fewer rows than the study's: nine systems take a while.
    "ag_news": replace(study.DATASETS["ag_news"], train_rows=3000, seeds=(1,)),
}


@dataclass(frozen=True)
class Run(study.Run):
    """Name a training run: `TEACHER`, or an objective with an exit after every layer.

    # Parameters

    out : `Path`
        The folder with the archives, the teacher's among them.
    """

    out: Path = Path("out/compare")

    @property
    def changes(self) -> Dict[str, Any]:
        """Return what the run changes in a config, besides the dataset and the seed."""
        if self.system == TEACHER:
            return {"model.exit_layers": EXIT_LAYERS[-1:]}
        objective = {"type": self.system}
        if self.system == "distillation":
            teacher = Run(self.dataset, TEACHER, self.seed, self.out)
            objective["teacher"] = str(archive(teacher, self.out))
        return {
            "model.exit_layers": EXIT_LAYERS,
            "model.objective": objective,
            "model.signals": ["certainty", "depth"],
            **OBJECTIVES[self.system],
        }


def runs(dataset: study.Dataset, out: Path) -> List[Run]:
    """Return all runs of a dataset, seed by seed, each teacher before its student."""
    systems: Tuple[str, ...] = (TEACHER, *OBJECTIVES)
    return [Run(dataset, system, seed, out) for seed in dataset.seeds for system in systems]
