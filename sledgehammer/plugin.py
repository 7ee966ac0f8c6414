"""Register everything with AllenNLP; `.allennlp_plugins` names this module."""

from sledgehammer.support.missing_allennlp import require_allennlp

require_allennlp()

from sledgehammer import dataset_readers, objectives, policies  # noqa: E402,F401
from sledgehammer.commands import (  # noqa: E402,F401
    allennlp_patches,
    audit,
    benchmark,
    calibrate,
    card,
    difficulty,
    errors,
    evaluate_table,
    export,
    fit,
    lexical,
    prune,
    tradeoff,
    training_patches,
)
from sledgehammer.model import multi_exit, predictor  # noqa: E402,F401
from sledgehammer.training import callbacks, data_loader, schedule  # noqa: E402,F401

errors.install_excepthook()
