"""What another number format changes, for `allennlp tradeoff --dtype`."""

from typing import Any, Dict, List, Sequence, Tuple

import torch

from sledgehammer.agreement import Agreement, compare
from sledgehammer.archives import Opened
from sledgehammer.commands.common import print_table
from sledgehammer.dataset_readers.base import Row
from sledgehammer.outputs import ExitOutputs, run_all_exits


def run_in_format(
    opened: Opened, rows: Sequence[Row], exact: ExitOutputs, dtype: str, batch_size: int
) -> Tuple[ExitOutputs, Dict[str, Any]]:
    """Run the rows once more, in another number format, in which the model goes on to compute.

    # Parameters

    exact : `ExitOutputs`
        Of the same rows, in float32.

    # Returns

    The new outputs, and a report of what changed at the model's threshold and at 1.0.
    """
    model = opened.model
    model.use_number_format(dtype)
    outputs = run_all_exits(model, opened.reader, rows, batch_size)
    changes: List[Dict[str, Any]] = []
    for threshold in sorted({model.policy.threshold, 1.0}):
        given = torch.full((len(rows),), threshold, device=model.temperatures.device)
        before, after = (model.answer(o.logits.to(given.device), given) for o in (exact, outputs))
        label = None if outputs.label is None else outputs.label.to(given.device)
        agreement = compare(before, after, model.exit_layers, label)
        changes.append({"threshold": threshold, **vars(agreement)})
    return outputs, {"dtype": dtype, "against": "float32", "changes": changes}


def print_changes(report: Dict[str, Any]) -> None:
    print(f"computed in {report['dtype']}; against {report['against']}:\n")
    print_table([_cells(change) for change in report["changes"]])
    print()


def _cells(change: Dict[str, Any]) -> Dict[str, str]:
    figures = Agreement(**{name: value for name, value in change.items() if name != "threshold"})
    assert figures.accuracy is not None and figures.accuracy_change is not None
    return {
        "threshold": f"{change['threshold']:.4g}",
        "accuracy": f"{figures.accuracy:.1%} ({100 * figures.accuracy_change:+.2f} points)",
        "mean layers": f"{figures.mean_layers:.2f} ({figures.mean_layers_change:+.3f})",
        "same label": f"{figures.labels:.2%}",
        "same exit": f"{figures.exits:.2%}",
        "largest change of a probability": f"{figures.probability_difference:.4f}",
    }
