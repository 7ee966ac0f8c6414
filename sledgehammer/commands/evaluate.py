"""Makes `allennlp evaluate` take exported models."""

from allennlp.commands import evaluate as allennlp_evaluate

from sledgehammer.commands.loading import loader

allennlp_evaluate.load_archive = loader("evaluate")
