"""Define how the exits learn: training objectives, one in each file."""

from sledgehammer.objectives.alternating import AlternatingObjective
from sledgehammer.objectives.base import UNLABELLED, ExitBatch, ExitObjective
from sledgehammer.objectives.distillation import DistillationObjective
from sledgehammer.objectives.exit_weighted import ExitWeightedObjective
from sledgehammer.objectives.gatekeeper import GatekeeperObjective
from sledgehammer.objectives.gradient_equilibrium import GradientEquilibriumObjective
from sledgehammer.objectives.joint import JointObjective
from sledgehammer.objectives.mixed import MixedObjective
from sledgehammer.objectives.random_exit import RandomExitObjective
from sledgehammer.objectives.self_distillation import SelfDistillationObjective
from sledgehammer.objectives.sweet import SweetObjective
from sledgehammer.objectives.two_stage import TwoStageObjective
from sledgehammer.objectives.weighted import WeightedObjective

__all__ = [
    "UNLABELLED",
    "AlternatingObjective",
    "DistillationObjective",
    "ExitBatch",
    "ExitObjective",
    "ExitWeightedObjective",
    "GatekeeperObjective",
    "GradientEquilibriumObjective",
    "JointObjective",
    "MixedObjective",
    "RandomExitObjective",
    "SelfDistillationObjective",
    "SweetObjective",
    "TwoStageObjective",
    "WeightedObjective",
]
