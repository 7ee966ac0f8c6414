"""Calibrated early exits for transformer classifiers, as an AllenNLP plugin.

    import sledgehammer

    classifier = sledgehammer.load("out/sst_int8")  # an exported model, or an archive
    classifier.predict(["A joy from start to end."], threshold=0.8)

Importing the package is instant and needs neither AllenNLP nor torch: the names below are loaded
when they are first used. `sledgehammer.plugin` registers our classes with AllenNLP.
"""

import importlib
from typing import Any, List

__version__ = "0.2.0"

_MODULES = {"engine": "sledgehammer.engine"}
_NAMES = {
    "Classifier": "sledgehammer.api",
    "SledgehammerClassifier": "sledgehammer.estimator",
    "fit": "sledgehammer.api",
    "load": "sledgehammer.api",
    "open_archive": "sledgehammer.model.archives",
}
"""The modules of the names that users type; the package itself imports them from there."""

__all__ = [
    "Classifier",
    "SledgehammerClassifier",
    "__version__",
    "engine",
    "fit",
    "load",
    "open_archive",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'sledgehammer' has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
