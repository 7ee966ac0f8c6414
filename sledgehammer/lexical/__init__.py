"""Answer before the first layer runs, with a linear model on word pieces; only numpy is needed."""

from sledgehammer.lexical.features import Features, FeatureSpace, Pieces
from sledgehammer.lexical.linear import LexicalError, LinearModel

__all__ = ["FeatureSpace", "Features", "LexicalError", "LinearModel", "Pieces"]
