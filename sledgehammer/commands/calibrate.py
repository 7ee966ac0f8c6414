"""Run `allennlp calibrate`: fit the temperatures to other data."""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import torch
from allennlp.commands.subcommand import Subcommand
from torch import Tensor

from sledgehammer.analysis.all_exits import ExitOutputs
from sledgehammer.analysis.plots import Answered, check_plot, plot_reliability
from sledgehammer.calibration import Scaling, assess, mixed
from sledgehammer.commands.base import (
    ArchiveCommand,
    as_json,
    open_and_run,
    print_table,
    write_json,
)
from sledgehammer.commands.seen_rows import warn_of_stale_choice, warn_of_used_rows
from sledgehammer.commands.temperature_checks import (
    add_few_rows,
    check_enough_rows,
    warn_at_bounds,
)
from sledgehammer.commands.titles import picture_title
from sledgehammer.model.archive_writing import check_target, write_changed
from sledgehammer.model.base import ExitClassifier
from sledgehammer.support.files import check_writable

REPORT = "calibration.json"
"""The report's name in the new archive."""


class _State(NamedTuple):
    """Say how well an exit is calibrated (see `ExitCalibration`), and how much it adds of the
    lexical exit."""

    temperature: float
    nll: float
    calibration_error: float
    brier: float
    auroc: float
    mixing: float


@Subcommand.register("calibrate")
class Calibrate(ArchiveCommand):
    """Fit an archive's temperatures to other data, and write a new archive.

    With a lexical exit, how much of its logits each other exit adds is fitted together with them.

    For each exit the command prints, before and after: temperature, negative log-likelihood
    (nats), expected calibration error, Brier score, and how well confidence separates right from
    wrong answers (area under the ROC curve). "After" is measured on the very rows that the
    temperatures were fitted to.
    """

    example = (
        "allennlp calibrate out/sst/model.tar.gz march.txt -o out/march.tar.gz --plot march.png"
    )

    archive_help = "a trained archive (model.tar.gz), or its folder; not an exported model"

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        self.add_new_archive(subparser)
        add_few_rows(subparser)
        subparser.add_argument("--report", type=Path, metavar="FILE.json", help="the table as JSON")
        subparser.add_argument(
            "--plot", type=Path, metavar="FILE.png|.svg|.pdf", help="reliability diagrams"
        )

    def run(self, arguments: argparse.Namespace) -> None:
        _check_outputs(arguments)
        opened, rows, outputs = open_and_run(arguments)
        model = opened.model
        before = model.scalings
        assert outputs.label is not None
        if not arguments.few_rows:
            check_enough_rows(outputs.label, model.labels)
        after = model.fit_scalings(outputs.logits, outputs.label)
        exits = _compare(outputs, model.exit_layers, before, after)
        lexical = model.lexical is not None
        print_table(
            [r for layer, states in exits.items() for r in _table_rows(layer, states, lexical)]
        )
        model.scalings = after
        report = {
            "data": arguments.data,
            "rows": len(outputs.hashes),
            "exits": exits,
            "warnings": _warnings(model, outputs)
            + warn_at_bounds(model.temperatures.tolist(), model.exit_layers),
        }
        if arguments.plot:
            title = picture_title(
                arguments.archive,
                opened,
                arguments.data,
                len(rows),
                arguments.data_format is not None,
            )
            answered = _answered(outputs, model.exit_layers, before, after)
            plot_reliability(answered, arguments.plot, title)
        if arguments.report:
            write_json(report, arguments.report)
        write_changed(
            arguments.archive,
            arguments.output,
            _new_weights(model, outputs),
            overwrite=arguments.force,
            extra={REPORT: json.dumps(as_json(report), indent=2).encode()},
        )
        print(f"\nnew archive: {arguments.output}")


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Raise a `ConfigurationError` if one of the files cannot be written."""
    check_target(arguments.output, arguments.archive, arguments.force)
    if arguments.report:
        check_writable(arguments.report, [".json"])
    if arguments.plot:
        check_plot(arguments.plot, pages=False)


def _new_weights(model: ExitClassifier, outputs: ExitOutputs) -> Dict[str, Tensor]:
    """Return the entries of a calibrated model's state that differ from the archive's."""
    model.measure_shares(outputs.logits)
    return {
        "temperatures": model.temperatures,
        **({} if model.lexical is None else {"mixing": model.mixing}),
        "exit_shares": model.exit_shares,
        "seen.temperatures": outputs.hashes,
        "seen.threshold": model.seen.threshold,
        "seen.weights": model.seen.weights,
    }


def _warnings(model: ExitClassifier, outputs: ExitOutputs) -> List[str]:
    """Warn of rows used before, and of a setting chosen for the old temperatures."""
    consequences = {
        "weights": "the model is more confident on them than on others; use other rows",
        "threshold": "choose it again, on other rows",
    }
    warnings = warn_of_used_rows(model.seen, outputs.hashes, consequences)
    chosen_on = len(model.seen.threshold)
    return warnings + warn_of_stale_choice(model.choice, model.conditions(), chosen_on)


def _compare(
    outputs: ExitOutputs, layers: List[int], before: List[Scaling], after: List[Scaling]
) -> Dict[int, Dict[str, _State]]:
    assert outputs.label is not None
    states: Dict[int, Dict[str, _State]] = {layer: {} for layer in layers}
    for when, scalings in (("before", before), ("after", after)):
        each_exit = _mixed(outputs, scalings).unbind(dim=1)
        for layer, logits, scaling in zip(layers, each_exit, scalings):
            measures = assess(logits, outputs.label, scaling.temperature)
            states[layer][when] = _State(*measures, mixing=scaling.mixing)
    return states


def _mixed(outputs: ExitOutputs, scalings: List[Scaling]) -> Tensor:
    """Return the mixed logits, not yet divided by the temperatures: (rows, exits, labels)."""
    return mixed(outputs.logits, torch.tensor([scaling.mixing for scaling in scalings]))


def _table_rows(layer: int, states: Dict[str, _State], lexical: bool) -> List[Dict[str, Any]]:
    return [
        {
            "exit": f"layer {layer}" if when == "before" else "",
            "": when,
            "temperature": f"{state.temperature:.3f}",
            **({"of the lexical exit": f"{state.mixing:.3f}"} if lexical else {}),
            "NLL": f"{state.nll:.4f}",
            "calibration error": f"{state.calibration_error:.4f}",
            "Brier score": f"{state.brier:.4f}",
            "AUROC": f"{state.auroc:.4f}",
        }
        for when, state in states.items()
    ]


def _answered(
    outputs: ExitOutputs, layers: List[int], before: List[Scaling], after: List[Scaling]
) -> Dict[int, Tuple[Answered, Answered]]:
    assert outputs.label is not None
    both = []
    for scalings in (before, after):
        temperatures = torch.tensor([scaling.temperature for scaling in scalings])
        probs = torch.softmax(_mixed(outputs, scalings) / temperatures[:, None], dim=-1)
        confidence, predicted = probs.max(dim=-1)
        both.append(Answered(confidence, predicted == outputs.label[:, None]))
    answered_before, answered_after = both
    return {
        layer: (
            Answered(*(tensor[:, position] for tensor in answered_before)),
            Answered(*(tensor[:, position] for tensor in answered_after)),
        )
        for position, layer in enumerate(layers)
    }
