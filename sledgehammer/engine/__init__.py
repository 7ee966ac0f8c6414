"""Run exported models: small, quick to start, without AllenNLP and torch.

from sledgehammer import engine

classifier = engine.load("out/sst_int8")
classifier.predict(["A joy from start to end."], threshold=0.8)
for answer in classifier.stream(line.strip() for line in open("reviews.txt")):
    print(answer["label"])
"""

from sledgehammer.engine.engine import Engine
from sledgehammer.engine.loading import load
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.source import Item

__all__ = ["Engine", "EngineError", "Item", "load"]
