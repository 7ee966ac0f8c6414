"""Run `allennlp lexical`: add an exit before the first layer to an archive."""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common.params import parse_overrides
from torch import Tensor

from sledgehammer.analysis.all_exits import (
    ExitOutputs,
    fingerprints_of,
    label_indices,
    run_all_exits,
)
from sledgehammer.commands.base import ArchiveCommand, as_json, print_table, rows_at, write_json
from sledgehammer.commands.seen_rows import leave_out, warn_of_used_rows
from sledgehammer.commands.temperature_checks import (
    add_few_rows,
    check_enough_rows,
    warn_at_bounds,
)
from sledgehammer.dataset_readers.base import Row, Tokenised
from sledgehammer.model.archive_writing import check_target, write_changed
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.model.base import ExitClassifier
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.files import check_writable
from sledgehammer.training.lexical import FittedModel, LabelledRows
from sledgehammer.training.lexical_exit import fit_lexical_exit

REPORT = "lexical.json"
"""The report's name in the new archive."""


class _Data(NamedTuple):
    """Hold the rows to fit the exit to, and the rows to choose and calibrate it on.

    # Parameters

    training : `LabelledRows`
    fingerprints : `Tensor`
        Shape (training rows,), int64.
    validation_rows : `List[Row]`
        None of them is among the training rows.
    tokenised : `Tokenised`
        The word pieces of the validation rows.
    validation : `LabelledRows`
        The same rows, as the exit reads them.
    """

    training: LabelledRows
    fingerprints: Tensor
    validation_rows: List[Row]
    tokenised: Tokenised
    validation: LabelledRows


@Subcommand.register("lexical")
class Lexical(ArchiveCommand):
    """Add an exit before the first layer to an archive: fit a linear model on n-grams of word
    pieces to its training data, and write a new archive.

    The validation rows choose the strength of the regularisation. On them the temperatures are
    fitted anew, and how much of the lexical exit's logits each other exit adds to its own. The
    command prints each exit's accuracy on them.
    """

    archive_help = "a trained archive (model.tar.gz), or its folder"
    second = ("data", "labelled training data, as the archive's reader takes it; it may be more "
              "than the network was trained on")  # fmt: skip
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
            help="hash the n-grams into 2 to the power of N buckets",
        )  # fmt: skip
        subparser.add_argument(
            "--min-rows", type=positive_int, default=2, metavar="N",
            help="leave out n-grams that fewer training rows have",
        )  # fmt: skip
        subparser.add_argument(
            "--no-mixing", action="store_true", help="leave the other exits as they are"
        )
        add_few_rows(subparser, "validation rows")
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
        model, reader = opened
        data = _read(opened, arguments)
        fitted = fit_lexical_exit(model, reader, data.training, data.validation)
        outputs = run_all_exits(
            model, reader, data.validation_rows, arguments.batch_size, data.tokenised
        )
        report = {
            "data": arguments.data, "rows": len(data.fingerprints),
            "validation": arguments.validation, "validation_rows": len(outputs.hashes),
            **_calibrate(model, outputs, fitted),
        }  # fmt: skip
        _print(report)
        consequence = "the network is more confident on them than on others; use other rows"
        report["warnings"] = warn_of_used_rows(
            model.seen, outputs.hashes, {"weights": consequence}
        ) + warn_at_bounds(model.temperatures.tolist(), model.exit_layers)
        model.seen.add_training_rows(data.fingerprints)
        model.seen.temperatures = outputs.hashes
        if arguments.report:
            write_json(report, arguments.report)
        write_changed(
            arguments.archive, arguments.output, _changed_weights(model),
            policy=model.policy.config(), lexical=config, overwrite=arguments.force,
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


def _read(opened: Opened, arguments: argparse.Namespace) -> _Data:
    """Read and tokenise all rows, each once.

    # Raises

    `ConfigurationError` if rows can't be read, a label is unknown, all validation rows are among
    the training rows, or the validation rows are too few to fit temperatures to.
    """
    model, reader = opened
    rows = rows_at(arguments.data, arguments, reader)
    training_label = label_indices(model, rows)
    validation_rows = rows_at(arguments.validation, arguments, reader)
    tokenised = reader.tokenised([row.texts for row in rows])
    training_hashes = fingerprints_of(reader, tokenised.inputs)
    validation = reader.tokenised([row.texts for row in validation_rows])
    known = torch.isin(fingerprints_of(reader, validation.inputs), training_hashes)
    left = leave_out(known, f"{int(known.sum())} validation rows are among the training data")
    validation_rows, validation = [validation_rows[i] for i in left], validation.of(left)
    label = label_indices(model, validation_rows)
    assert training_label is not None and label is not None, "the rows have labels"
    if not arguments.few_rows:
        check_enough_rows(label, model.labels)
    return _Data(
        LabelledRows(tokenised.pieces, training_label.numpy()),
        training_hashes,
        validation_rows,
        validation,
        LabelledRows(validation.pieces, label.numpy()),
    )


def _calibrate(model: ExitClassifier, outputs: ExitOutputs, fitted: FittedModel) -> Dict[str, Any]:
    """Fit the scalings of all exits, and return the report on the exits."""
    assert outputs.label is not None
    model.scalings = model.fit_scalings(outputs.logits, outputs.label)
    model.measure_shares(outputs.logits)
    label = outputs.label[:, None]
    alone, mixed = (
        (scores.argmax(dim=-1) == label).double().mean(dim=0).tolist()
        for scores in (outputs.logits, model.calibrated(outputs.logits))
    )
    exits = {
        layer: {"accuracy": accuracy, "accuracy_mixed": accuracy_mixed, **scaling._asdict()}
        for layer, accuracy, accuracy_mixed, scaling in zip(
            model.exit_layers, alone, mixed, model.scalings
        )
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
                "alone": f"{figures['accuracy']:.1%}",
                "with the lexical exit": f"{figures['accuracy_mixed']:.1%}",
                "temperature": f"{figures['temperature']:.3f}",
                "of the lexical exit": f"{figures['mixing']:.3f}",
            }
            for layer, figures in report["exits"].items()
        ]
    )


def _changed_weights(model: ExitClassifier) -> Dict[str, Tensor]:
    changed: Tuple[str, ...] = ("temperatures", "mixing", "exit_shares", "lexical.", "seen.")
    return {name: t for name, t in model.state_dict().items() if name.startswith(changed)}
