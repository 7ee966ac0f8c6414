"""Report what another number format changes, for `allennlp tradeoff --dtype`."""

from typing import Any, Dict, List, Sequence, Tuple

from sledgehammer.analysis.agreement import Agreement, compare
from sledgehammer.analysis.all_exits import ExitOutputs, replayed_answers, run_all_exits
from sledgehammer.commands.base import print_table
from sledgehammer.dataset_readers.base import Row
from sledgehammer.model.archives import Opened


def run_in_format(
    opened: Opened, rows: Sequence[Row], exact: ExitOutputs, dtype: str, batch_size: int
) -> Tuple[ExitOutputs, Dict[str, Any]]:
    """Switch the model to another number format and run the rows again.

    # Parameters

    exact : `ExitOutputs`
        The outputs for the same rows in float32.

    # Returns

    The new outputs, and a report of what changed at the policy's setting and for the full model.
    """
    model = opened.model
    model.use_number_format(dtype)
    outputs = run_all_exits(model, opened.reader, rows, batch_size)
    changes: List[Dict[str, Any]] = []
    policy = model.policy
    for setting in dict.fromkeys((policy.swept, policy.full)):
        settings = policy.values_at(setting)
        before, after = (replayed_answers(model, either, settings) for either in (exact, outputs))
        agreement = compare(before, after, model.exit_layers, outputs.label)
        # The setting is `None` where each exit has a threshold of its own, or there is no limit.
        changes.append({policy.sweeps: setting, **vars(agreement)})
    return outputs, {"dtype": dtype, "against": "float32", "changes": changes}


def print_changes(report: Dict[str, Any]) -> None:
    """Print a report of `run_in_format` as a table."""
    print(f"computed in {report['dtype']}, compared with {report['against']}:\n")
    print_table([_cells(change) for change in report["changes"]])
    print()


def _cells(change: Dict[str, Any]) -> Dict[str, str]:
    (name, setting), *rest = change.items()
    agreement = Agreement(**dict(rest))
    assert agreement.accuracy is not None and agreement.accuracy_change is not None
    return {
        name: "an exit's own" if setting is None else f"{setting:.4g}",
        "accuracy": f"{agreement.accuracy:.1%} ({100 * agreement.accuracy_change:+.2f} points)",
        "mean layers": f"{agreement.mean_layers:.2f} ({agreement.mean_layers_change:+.3f})",
        "same label": f"{agreement.labels:.2%}",
        "same exit": f"{agreement.exits:.2%}",
        "largest change of a probability": f"{agreement.probability_difference:.4f}",
    }


def agreement_cells(agreement: Agreement) -> Dict[str, str]:
    """Return the cells of a table row that shows an `Agreement`."""
    cells = {
        "same label": f"{agreement.labels:.2%}",
        "same exit": f"{agreement.exits:.2%}",
        "largest difference of a probability": f"{agreement.probability_difference:.4f}",
        "mean layers": f"{agreement.mean_layers:.2f} ({agreement.mean_layers_change:+.2f})",
    }
    if agreement.accuracy is not None and agreement.accuracy_change is not None:
        change = 100 * agreement.accuracy_change
        cells["accuracy"] = f"{agreement.accuracy:.1%} ({change:+.2f} points)"
        cells["right only before, only now"] = (
            f"{agreement.only_reference_right}, {agreement.only_other_right}"
        )
    return cells
