"""Have `evaluate` print the metrics that AllenNLP only writes to a file."""

import functools
import sys
from typing import Any, Dict

from allennlp.commands import evaluate as allennlp_evaluate

from sledgehammer.commands.base import print_table
from sledgehammer.support.console import print_anything

_evaluate = allennlp_evaluate.evaluate_from_archive


@functools.wraps(_evaluate)
def evaluate_and_show(*arguments: Any, **options: Any) -> Dict[str, Any]:
    """Evaluate as AllenNLP does, and print a table if the process runs this command."""
    metrics = _evaluate(*arguments, **options)
    if sys.argv[1:2] == ["evaluate"]:
        print_anything()
        print_table(
            [{"metric": name, "value": _formatted(value)} for name, value in metrics.items()]
        )
    return metrics


def _formatted(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


allennlp_evaluate.evaluate_from_archive = evaluate_and_show
