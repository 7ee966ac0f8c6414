"""What is compared: objectives, policies, and the training runs that it takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Tuple

from benchmarks.study import plan as study
from benchmarks.study.training import archive

EXIT_LAYERS = list(range(study.FULL_LAYERS))

STAGED = {"trainer.num_epochs": 4}
"""Twice the epochs: as many for the backbone as the others have, then as many for the exits."""

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
"""The same of objectives whose runs are still to be made: they join `OBJECTIVES` with the next
comparison, since all of its figures come from the same runs."""

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
"""Each goes with every objective. `budget` chooses the threshold of `confidence`, whose curve is
its own; what it keeps to is measured apart."""

DATASETS = {
    "sst": replace(study.DATASETS["sst"], seeds=(1, 2)),
    # Fewer rows than the study's: nine systems take a while.
    "ag_news": replace(study.DATASETS["ag_news"], train_rows=3000, seeds=(1,)),
}


@dataclass(frozen=True)
class Run(study.Run):
    """One training run: `TEACHER`, or an objective with an exit after every layer.

    # Parameters

    out : `Path`
        Where archives are, that of the teacher among them.
    """

    out: Path = Path("out/compare")

    @property
    def changes(self) -> Dict[str, Any]:
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
    """All runs of a dataset, seed by seed, each teacher before its student."""
    systems: Tuple[str, ...] = (TEACHER, *OBJECTIVES)
    return [Run(dataset, system, seed, out) for seed in dataset.seeds for system in systems]
