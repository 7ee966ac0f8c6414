"""Registers everything with AllenNLP; `.allennlp_plugins` names this module."""

from sledgehammer.requirements import require_allennlp

require_allennlp()

from sledgehammer import callbacks, dataset_readers, model, objectives, policies  # noqa: E402,F401
from sledgehammer import predictor  # noqa: E402,F401
from sledgehammer.commands import predict  # noqa: E402,F401
