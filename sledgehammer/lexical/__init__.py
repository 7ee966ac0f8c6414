"""The exit before the first layer: a linear model on word pieces. It needs numpy alone."""

from sledgehammer.lexical.features import FeatureSpace, Found, Pieces
from sledgehammer.lexical.linear import LexicalError, LinearModel

__all__ = ["FeatureSpace", "Found", "LexicalError", "LinearModel", "Pieces"]
