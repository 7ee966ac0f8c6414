"""What another number format changes, for `allennlp tradeoff --dtype`."""

from typing import Any, Dict, List, Sequence, Tuple

from sledgehammer.analysis.agreement import Agreement, compare
from sledgehammer.analysis.all_exits import ExitOutputs, replayed, run_all_exits
from sledgehammer.commands.base import print_table
from sledgehammer.dataset_readers.base import Row
from sledgehammer.model.archives import Opened


def run_in_format(
    opened: Opened, rows: Sequence[Row], exact: ExitOutputs, dtype: str, batch_size: int
) -> Tuple[ExitOutputs, Dict[str, Any]]:
    """Run the rows once more, in another number format, in which the model goes on to compute.

    # Parameters

    exact : `ExitOutputs`
        Of the same rows, in float32.

    # Returns

    The new outputs, and a report of what changed at the policy's setting and at the full model's.
    """
    model = opened.model
    model.use_number_format(dtype)
    outputs = run_all_exits(model, opened.reader, rows, batch_size)
    changes: List[Dict[str, Any]] = []
    policy = model.policy
    for setting in dict.fromkeys((policy.swept, policy.full)):
        settings = policy.values.with_value(policy.sweeps, setting)
        before, after = (replayed(model, o, settings) for o in (exact, outputs))
        agreement = compare(before, after, model.exit_layers, outputs.label)
        # None where each exit has its own, or there is no limit.
        changes.append({policy.sweeps: setting, **vars(agreement)})
    return outputs, {"dtype": dtype, "against": "float32", "changes": changes}


def print_changes(report: Dict[str, Any]) -> None:
    print(f"computed in {report['dtype']}; against {report['against']}:\n")
    print_table([_cells(change) for change in report["changes"]])
    print()


def _cells(change: Dict[str, Any]) -> Dict[str, str]:
    (name, setting), *rest = change.items()
    figures = Agreement(**dict(rest))
    assert figures.accuracy is not None and figures.accuracy_change is not None
    return {
        name: "an exit's own" if setting is None else f"{setting:.4g}",
        "accuracy": f"{figures.accuracy:.1%} ({100 * figures.accuracy_change:+.2f} points)",
        "mean layers": f"{figures.mean_layers:.2f} ({figures.mean_layers_change:+.3f})",
        "same label": f"{figures.labels:.2%}",
        "same exit": f"{figures.exits:.2%}",
        "largest change of a probability": f"{figures.probability_difference:.4f}",
    }


def agreement_cells(found: Agreement) -> Dict[str, str]:
    """An `Agreement` as a row of a table."""
    cells = {
        "same label": f"{found.labels:.2%}",
        "same exit": f"{found.exits:.2%}",
        "largest difference of a probability": f"{found.probability_difference:.4f}",
        "mean layers": f"{found.mean_layers:.2f} ({found.mean_layers_change:+.2f})",
    }
    if found.accuracy is not None and found.accuracy_change is not None:
        change = 100 * found.accuracy_change
        cells["accuracy"] = f"{found.accuracy:.1%} ({change:+.2f} points)"
        cells["right only before, only now"] = (
            f"{found.only_reference_right}, {found.only_other_right}"
        )
    return cells
