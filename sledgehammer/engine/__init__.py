"""Exported models: small, quick to start, no AllenNLP and no torch.

from sledgehammer import engine

classifier = engine.load("out/sst_int8")
classifier.predict(["A joy from start to end."], threshold=0.8)
"""

from sledgehammer.engine.classifier import Engine, load
from sledgehammer.engine.manifest import EngineError

__all__ = ["Engine", "EngineError", "load"]
