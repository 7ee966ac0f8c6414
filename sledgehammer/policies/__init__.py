"""Decide when to stop: exit policies, without AllenNLP or torch, as exported engines need them.

Each policy is one file here and one test module; importing it makes it known.
"""

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.budget import BudgetPolicy
from sledgehammer.policies.choice import CHOICE, Choice, Conditions
from sledgehammer.policies.confidence import ConfidencePolicy
from sledgehammer.policies.entropy import EntropyPolicy
from sledgehammer.policies.evidence import Evidence, Exits
from sledgehammer.policies.learned_halting import LearnedHaltingPolicy
from sledgehammer.policies.normalized_entropy import NormalizedEntropyPolicy
from sledgehammer.policies.patience import PatiencePolicy
from sledgehammer.policies.patience_confidence import PatienceConfidencePolicy
from sledgehammer.policies.predicted_depth import PredictedDepthPolicy
from sledgehammer.policies.requests import check_for_some_policy, settings_in
from sledgehammer.policies.settings import Decision, RowSettings, SettingRange
from sledgehammer.policies.shares import exit_shares, known_shares, unknown_shares

__all__ = [
    "CHOICE", "BudgetPolicy", "Choice", "Conditions", "ConfidencePolicy", "Decision", "EntropyPolicy", "Evidence", "ExitPolicy",
    "Exits", "LearnedHaltingPolicy", "NormalizedEntropyPolicy", "PatienceConfidencePolicy",
    "PatiencePolicy", "PredictedDepthPolicy", "RowSettings", "SettingRange",
    "check_for_some_policy", "exit_shares", "known_shares", "settings_in", "unknown_shares",
]  # fmt: skip
