"""`allennlp lexical`: an exit before the first layer, for a network that is trained already."""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError
from allennlp.common.params import parse_overrides

from sledgehammer.analysis.all_exits import (
    ExitOutputs,
    fingerprints,
    label_indices,
    run_all_exits,
)
from sledgehammer.calibration import ROWS_PER_LABEL
from sledgehammer.commands.base import ArchiveCommand, as_json, print_table, write_json
from sledgehammer.commands.calibrate import check_enough_rows, warn_at_bounds
from sledgehammer.commands.seen_rows import warn_of_used_rows
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archive_writing import check_target, write_changed
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.model.base import ExitClassifier
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.files import check_writable
from sledgehammer.training.lexical import FittedModel
from sledgehammer.training.lexical_exit import fit_lexical_exit

REPORT = "lexical.json"
"""The report's name within the new archive."""


@Subcommand.register("lexical")
class Lexical(ArchiveCommand):
    """Fit an exit before the first layer, a linear model on n-grams of word pieces, to an archive's
    training data, and write a new archive that has it.

    The validation rows choose the strength of its regularisation; on them the temperatures are
    fitted anew, and how much of it each other exit adds to its own logits. It prints each exit's
    accuracy there.
    """

    archive_help = "a trained archive (model.tar.gz), or its folder"
    second = ("data", "labelled training data, as the archive's reader takes it; more than the "
              "network was trained on will do")  # fmt: skip
    example = (
        "allennlp lexical out/sst/model.tar.gz train.txt --validation dev.txt -o out/lexical.tar.gz"
    )

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        self.add_new_archive(subparser)
        subparser.add_argument(
            "--validation", required=True, metavar="DATA",
            help="labelled rows; those that are among the training data are left out",
        )  # fmt: skip
        subparser.add_argument(
            "--ngrams",
            type=positive_int,
            default=2,
            metavar="N",
            help="longest n-gram, in word pieces",
        )
        subparser.add_argument(
            "--bits", type=positive_int, default=20, metavar="N",
            help="n-grams are hashed into 2 to this power buckets",
        )  # fmt: skip
        subparser.add_argument(
            "--min-rows", type=positive_int, default=2, metavar="N",
            help="leave out what fewer training rows have",
        )  # fmt: skip
        subparser.add_argument(
            "--no-mixing", action="store_true", help="leave the other exits as they are"
        )
        subparser.add_argument(
            "--few-rows", action="store_true",
            help=f"fit temperatures though a label has fewer than {ROWS_PER_LABEL} validation rows",
        )  # fmt: skip
        subparser.add_argument(
            "--report", type=Path, metavar="FILE.json", help="the table, as JSON"
        )

    def run(self, arguments: argparse.Namespace) -> None:
        check_target(arguments.output, arguments.archive, arguments.force)
        if arguments.report:
            check_writable(arguments.report, [".json"])
        config = {
            "ngrams": arguments.ngrams, "bits": arguments.bits, "min_rows": arguments.min_rows,
            "mix": not arguments.no_mixing,
        }  # fmt: skip
        opened = _open_with_exit(arguments, config)
        rows = read_rows(opened.reader, arguments.data, arguments.json_lines)
        validation = read_rows(opened.reader, arguments.validation, arguments.json_lines)
        learned = fingerprints(opened.reader, rows)
        validation = _not_among(opened, learned, validation)
        if not arguments.few_rows:
            label = label_indices(opened.model, validation)
            assert label is not None, "the rows have labels"
            check_enough_rows(label, opened.model.labels)
        fitted = fit_lexical_exit(opened.model, opened.reader, rows, validation)
        outputs = run_all_exits(opened.model, opened.reader, validation, arguments.batch_size)
        report = _calibrate(opened.model, outputs, fitted)
        report = {
            "data": arguments.data, "rows": len(rows), "validation": arguments.validation,
            "validation_rows": len(validation), **report,
        }  # fmt: skip
        _print(report)
        surer = "the network is surer of them than of others; use other rows"
        report["warnings"] = warn_of_used_rows(
            opened.model.seen, outputs.hashes, {"weights": surer}
        ) + warn_at_bounds(opened.model.temperatures.tolist(), opened.model.exit_layers)
        opened.model.seen.add_training_rows(learned)
        opened.model.seen.temperatures = outputs.hashes
        if arguments.report:
            write_json(report, arguments.report)
        write_changed(
            arguments.archive, arguments.output, _changed_weights(opened.model),
            policy=opened.model.policy.config(), lexical=config, overwrite=arguments.force,
            extra={REPORT: json.dumps(as_json(report), indent=2).encode()},
        )  # fmt: skip
        print(f"\nnew archive: {arguments.output}")


def _open_with_exit(arguments: argparse.Namespace, config: Dict[str, Any]) -> Opened:
    """Load the archive as a model with a lexical exit that has not been fitted."""
    overrides = parse_overrides(arguments.overrides) if arguments.overrides else {}
    changed = json.dumps({**overrides, "model.lexical": config})
    opened = open_archive(arguments.archive, arguments.cuda_device, changed)
    assert opened.model.lexical is not None, "the config asks for it"
    opened.model.lexical.forget()
    return opened


def _not_among(opened: Opened, learned: torch.Tensor, rows: List[Row]) -> List[Row]:
    """Return the rows that are not among those that the exit learns from.

    # Raises

    `ConfigurationError` if there are none.
    """
    among = torch.isin(fingerprints(opened.reader, rows), learned).tolist()
    left = [row for row, known in zip(rows, among) if not known]
    if not left:
        raise ConfigurationError(
            f"all {len(rows)} validation rows are among the training data: give others"
        )
    if len(left) < len(rows):
        print(
            f"left out {len(rows) - len(left)} of {len(rows)} validation rows, which are among "
            "the training data\n"
        )
    return left


def _calibrate(model: ExitClassifier, outputs: ExitOutputs, fitted: FittedModel) -> Dict[str, Any]:
    """Fit the scalings of all exits, and tell what they give."""
    assert outputs.label is not None
    model.scalings = model.fit_scalings(outputs.logits, outputs.label)
    probs = model.calibrated(outputs.logits)
    model.measure_shares(outputs.logits)
    label = outputs.label[:, None]
    alone, scaled = (
        (found.argmax(dim=-1) == label).double().mean(dim=0).tolist()
        for found in (outputs.logits, probs)
    )
    exits = {
        layer: {"accuracy": own, "accuracy_mixed": together, **scaling._asdict()}
        for layer, own, together, scaling in zip(model.exit_layers, alone, scaled, model.scalings)
    }
    assert model.lexical is not None, "it has been fitted"
    return {
        "strength": fitted.strength,
        "trials": fitted.trials,
        "megabytes": model.lexical.linear.size / 1e6,
        "exits": exits,
    }


def _print(report: Dict[str, Any]) -> None:
    print(
        f"lexical exit: fitted to {report['rows']} rows with C = {report['strength']:g}, "
        f"{report['megabytes']:.1f} MB\n\n"
        f"accuracy on {report['validation_rows']} rows of {report['validation']}, on which the last "
        "two columns were fitted:\n"
    )
    print_table(
        [
            {
                "exit": f"layer {layer}",
                "alone": f"{found['accuracy']:.1%}",
                "with the lexical exit": f"{found['accuracy_mixed']:.1%}",
                "temperature": f"{found['temperature']:.3f}",
                "of the lexical exit": f"{found['mixing']:.3f}",
            }
            for layer, found in report["exits"].items()
        ]
    )


def _changed_weights(model: ExitClassifier) -> Dict[str, torch.Tensor]:
    changed: Tuple[str, ...] = ("temperatures", "mixing", "exit_shares", "lexical.", "seen.")
    return {name: t for name, t in model.state_dict().items() if name.startswith(changed)}
