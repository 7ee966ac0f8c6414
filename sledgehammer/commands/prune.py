"""`allennlp prune`: a smaller model from an archive."""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError
from allennlp.common.params import parse_overrides, with_overrides
from allennlp.nn import util
from torch import Tensor

from sledgehammer.analysis.all_exits import (
    ExitOutputs,
    fingerprints,
    label_indices,
    run_all_exits,
)
from sledgehammer.calibration import fit_temperatures
from sledgehammer.commands.base import ArchiveCommand, as_json, print_table, write_json
from sledgehammer.commands.seen_rows import warn, warn_of_choice
from sledgehammer.dataset_readers.base import Row, token_batches
from sledgehammer.dataset_readers.holdout import PARTS, split_path
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import (
    Opened,
    check_target,
    open_archive,
    read_member,
    write_changed,
)
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import TokenTensors
from sledgehammer.network.pretrained import SNAPSHOT
from sledgehammer.objectives import ExitObjective
from sledgehammer.support.arguments import natural_number, positive_float, positive_int, share
from sledgehammer.support.files import check_writable
from sledgehammer.training.fine_tuning import adapted, fine_tune, objective_for
from sledgehammer.training.pruning import (
    Shape,
    check_prunable,
    choose,
    config_changes,
    importance,
    prune,
    shapes,
)

REPORT = "pruning.json"
"""The report's name within the new archive."""

_TRANSFORMER = f"{SNAPSHOT}/config.json"


class _Outcome(NamedTuple):
    """What has happened to the model."""

    shapes: List[Shape]
    """Before."""

    parameters: int
    """Before."""

    accuracies: Dict[str, List[float]]
    """Of each exit on the validation rows, by when."""

    final: ExitOutputs
    """The exits' answers to the validation rows now."""


class _Data(NamedTuple):
    """Rows to learn from and rows to judge by."""

    rows: List[Row]
    labels: Tensor
    validation: str
    validation_rows: List[Row]


@Subcommand.register("prune")
class Prune(ArchiveCommand):
    """Remove the attention heads and feed-forward units that matter least on data, fine-tune what
    is left, and write a smaller and faster archive.

    Which heads go differs by layer; all layers get the same feed-forward width. The temperatures
    are fitted anew. It prints what each layer keeps, and each exit's accuracy before and after.
    """

    archive_help = "a trained archive (model.tar.gz), or its folder"
    second = ("data", "labelled training data, as the archive's reader takes it")
    example = (
        "allennlp prune out/sst/model.tar.gz train.txt -o out/small.tar.gz --heads 0.5 --width 0.5"
    )

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        self.add_new_archive(subparser)
        subparser.add_argument(
            "--heads", type=share, default=1.0, metavar="SHARE",
            help="of the attention heads to keep, over all layers (default: 1, all)",
        )  # fmt: skip
        subparser.add_argument(
            "--width", type=share, default=1.0, metavar="SHARE",
            help="of each layer's feed-forward units to keep (default: 1, all)",
        )  # fmt: skip
        subparser.add_argument(
            "--importance-rows", type=positive_int, default=2000, metavar="N",
            help="rows of DATA to judge heads and units by, evenly drawn (default: 2000)",
        )  # fmt: skip
        subparser.add_argument(
            "--report", type=Path, metavar="FILE.json", help="the tables, as JSON"
        )
        self._add_fine_tuning(subparser)

    def _add_fine_tuning(self, subparser: argparse.ArgumentParser) -> None:
        subparser.add_argument(
            "--epochs", type=natural_number, default=1, metavar="N",
            help="of fine-tuning on DATA, by the archive's trainer config (default: 1; 0: none). An "
            "objective in stages divides them; too few for that train all exits at once",
        )  # fmt: skip
        subparser.add_argument(
            "--learning-rate", type=positive_float, metavar="RATE",
            help="of the fine-tuning (default: the archive's)",
        )  # fmt: skip
        subparser.add_argument(
            "--validation", metavar="DATA",
            help="labelled rows for temperatures and accuracy (default: with a DATA of "
            "FILE#train, FILE#validation; else those that the archive was trained with)",
        )  # fmt: skip

    def run(self, arguments: argparse.Namespace) -> None:
        check_target(arguments.output, arguments.archive, arguments.force)
        if arguments.report:
            check_writable(arguments.report, [".json"])
        if arguments.heads == arguments.width == 1.0:
            raise ConfigurationError("nothing to remove: give a --heads or a --width below 1")
        opened = open_archive(arguments.archive, arguments.cuda_device, arguments.overrides)
        model = _prunable(arguments.archive, opened, arguments.heads < 1.0)
        transformer = json.loads(read_member(arguments.archive, _TRANSFORMER))
        config = _config(arguments.archive, arguments.overrides)
        data = _read(opened, arguments, config)
        outcome = _prune(arguments, opened, model, data, config)
        report = _report(arguments, model, data, outcome)
        _print(report)
        learned = fingerprints(opened.reader, data.rows)
        report["warnings"] = _warnings(learned, outcome.final, model.objective, arguments.epochs)
        # Parts were judged by these rows too, so they count even without fine-tuning.
        model.seen.add_training_rows(learned)
        model.temperatures.copy_(torch.tensor(report["temperatures"]))
        chosen_on = len(model.seen.threshold)
        report["warnings"] += warn_of_choice(model.choice, model.conditions(), chosen_on)
        transformer.update(config_changes(model.encoder))
        extra = {
            REPORT: json.dumps(as_json(report), indent=2).encode(),
            _TRANSFORMER: (json.dumps(transformer, indent=2) + "\n").encode(),
        }
        model.measure_shares(outcome.final.logits)
        weights = {
            **model.state_dict(),
            "seen.temperatures": outcome.final.hashes,
        }
        if arguments.report:
            write_json(report, arguments.report)
        write_changed(
            arguments.archive, arguments.output, weights, overwrite=arguments.force, extra=extra
        )
        print(f"\nnew archive: {arguments.output}")


def _prunable(archive: str, opened: Opened, heads: bool) -> MultiExitClassifier:
    model = opened.model
    if not isinstance(model, MultiExitClassifier):
        raise ConfigurationError(f"{archive!r} is exported already: give the archive it is from")
    check_prunable(model.encoder.transformer.config, heads)
    return model


def _config(archive: str, overrides: str) -> Dict[str, Any]:
    config = json.loads(read_member(archive, "config.json"))
    return with_overrides(config, parse_overrides(overrides)) if overrides else config


def _read(opened: Opened, arguments: argparse.Namespace, config: Dict[str, Any]) -> _Data:
    """All rows, with every mistake in them found before anything is computed."""
    model, reader = opened
    rows = read_rows(reader, arguments.data, arguments.json_lines)
    labels = label_indices(model, rows)
    assert labels is not None
    path, part = split_path(arguments.data)
    chosen = arguments.validation or (f"{path}#{PARTS[1]}" if part == PARTS[0] else None)
    validation = chosen or config.get("validation_data_path")
    if not validation:
        raise ConfigurationError("the archive names no validation data: give --validation DATA")
    try:
        # What the archive names is a file for its reader.
        as_lines = arguments.json_lines and chosen is not None
        validation_rows = read_rows(reader, validation, as_lines)
    except ConfigurationError as error:
        if chosen:
            raise
        raise ConfigurationError(
            f"the archive's own validation data: {error.message}; give --validation DATA"
        ) from error
    label_indices(model, validation_rows)
    return _Data(rows, labels, validation, validation_rows)


def _prune(
    arguments: argparse.Namespace,
    opened: Opened,
    model: MultiExitClassifier,
    data: _Data,
    config: Dict[str, Any],
) -> _Outcome:
    """Change the model."""

    def look(when: str) -> ExitOutputs:
        found = run_all_exits(model, opened.reader, data.validation_rows, arguments.batch_size)
        accuracies[when] = _accuracies(found)
        return found

    accuracies: Dict[str, List[float]] = {}
    look("before")
    before, parameters = shapes(model.encoder), _parameters(model)
    found = importance(model, _batches(opened, data, arguments))
    prune(model, choose(found, arguments.heads, arguments.width))
    final = look("after pruning")
    if arguments.epochs:
        fine_tune(
            arguments.archive, model, opened.reader, data.rows, data.validation_rows,
            adapted(config, arguments.epochs, arguments.learning_rate, arguments.cuda_device),
        )  # fmt: skip
        final = look("after fine-tuning")
    return _Outcome(before, parameters, accuracies, final)


def _report(
    arguments: argparse.Namespace, model: MultiExitClassifier, data: _Data, outcome: _Outcome
) -> Dict[str, Any]:
    final = outcome.final
    assert final.label is not None
    return {
        "data": arguments.data,
        "rows": len(data.rows),
        "validation": data.validation,
        "validation_rows": len(data.validation_rows),
        "epochs": arguments.epochs,
        "layers": [
            {"layer": layer, "before": old, "after": new}
            for layer, (old, new) in enumerate(zip(outcome.shapes, shapes(model.encoder)))
        ],
        "parameters": {"before": outcome.parameters, "after": _parameters(model)},
        "accuracy": {
            layer: {when: found[position] for when, found in outcome.accuracies.items()}
            for position, layer in enumerate(model.exit_layers)
        },
        "temperatures": fit_temperatures(final.logits, final.label),
    }


def _batches(
    opened: Opened, data: _Data, arguments: argparse.Namespace
) -> Iterator[Tuple[TokenTensors, Tensor]]:
    """Evenly drawn rows of the training data, on the model's device."""
    count = min(arguments.importance_rows, len(data.rows))
    drawn = [i * len(data.rows) // count for i in range(count)]
    rows, labels = [data.rows[i] for i in drawn], data.labels[drawn]
    device = opened.model.temperatures.device
    batches = token_batches(opened.reader, rows, arguments.batch_size)
    total = -(-count // arguments.batch_size)
    for tokens, positions in Tqdm.tqdm(batches, "measuring importance", total=total):
        yield util.move_to_device(tokens, device), labels[positions].to(device)


def _warnings(
    learned: Tensor, final: ExitOutputs, objective: ExitObjective, epochs: int
) -> List[str]:
    found = []
    if overlap := int(torch.isin(final.hashes, learned).sum()):
        found.append(
            f"{overlap} of the {len(final.hashes)} validation rows are among the training rows: "
            "accuracies and confidences look better than they are"
        )
    if epochs and objective_for(objective, epochs) is not objective:
        found.append(
            f"--epochs {epochs} has no room for the second stage of the archive's objective: all exits "
            "were trained at once"
        )
    return warn(found)


def _accuracies(outputs: ExitOutputs) -> List[float]:
    assert outputs.label is not None
    correct = outputs.logits.argmax(dim=-1) == outputs.label[:, None]
    return correct.float().mean(dim=0).tolist()


def _parameters(model: MultiExitClassifier) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _print(report: Dict[str, Any]) -> None:
    print_table(
        [
            {
                "layer": str(found["layer"]),
                "heads kept": f"{found['after'].heads} of {found['before'].heads}",
                "width kept": f"{found['after'].units} of {found['before'].units}",
            }
            for found in report["layers"]
        ]
    )
    before, after = report["parameters"]["before"], report["parameters"]["after"]
    print(f"\nparameters: {before:,} -> {after:,} ({after / before - 1:+.1%})")
    rows, validation = report["validation_rows"], report["validation"]
    print(f"\naccuracy on {rows} rows of {validation}:\n")
    print_table(
        [
            {"exit": f"layer {layer}", **{when: f"{value:.1%}" for when, value in states.items()}}
            for layer, states in report["accuracy"].items()
        ]
    )
