"""Registers everything with AllenNLP; `.allennlp_plugins` names this module."""

from sledgehammer.requirements import require_allennlp

require_allennlp()

from sledgehammer import (  # noqa: E402,F401
    callbacks,
    data_loader,
    dataset_readers,
    model,
    objectives,
    policies,
    predictor,
)
from sledgehammer.commands import (  # noqa: E402,F401
    benchmark,
    calibrate,
    difficulty,
    evaluate,
    export,
    predict,
    prune,
    tradeoff,
)
