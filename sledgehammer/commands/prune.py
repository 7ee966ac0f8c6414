"""Run `allennlp prune`: make a smaller model from an archive."""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.analysis.all_exits import ExitOutputs, fingerprints, run_all_exits
from sledgehammer.commands.base import ArchiveCommand, as_json, print_table, write_json
from sledgehammer.commands.prune_data import (
    PruningData,
    importance_batches,
    read_config,
    read_data,
)
from sledgehammer.commands.seen_rows import warn, warn_of_stale_choice
from sledgehammer.model.archive_files import read_member
from sledgehammer.model.archive_writing import check_target, write_changed
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.model.multi_exit import MultiExitClassifier
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
"""The report's name in the new archive."""

_TRANSFORMER = f"{SNAPSHOT}/config.json"


class _Outcome(NamedTuple):
    """Hold what pruning and fine-tuning did to the model.

    # Parameters

    shapes : `List[Shape]`
        The shape of each layer before pruning.
    parameters : `int`
        How many parameters the model had before pruning.
    accuracies : `Dict[str, List[float]]`
        By stage ("before", "after pruning", ...): each exit's accuracy on the validation rows.
    final : `ExitOutputs`
        The finished model's answers to the validation rows.
    """

    shapes: List[Shape]
    parameters: int
    accuracies: Dict[str, List[float]]
    final: ExitOutputs


@Subcommand.register("prune")
class Prune(ArchiveCommand):
    """Remove the attention heads and feed-forward units that matter least on data, fine-tune what
    is left, and write a smaller and faster archive.

    Which heads go differs by layer; all layers get the same feed-forward width. The temperatures
    are fitted again. The command prints what each layer keeps, and each exit's accuracy before
    and after.
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
            help="share of the attention heads to keep, over all layers; 1 keeps all",
        )  # fmt: skip
        subparser.add_argument(
            "--width", type=share, default=1.0, metavar="SHARE",
            help="share of each layer's feed-forward units to keep; 1 keeps all",
        )  # fmt: skip
        subparser.add_argument(
            "--importance-rows", type=positive_int, default=2000, metavar="N",
            help="rows to judge heads and units by, spread evenly over DATA",
        )  # fmt: skip
        subparser.add_argument(
            "--report", type=Path, metavar="FILE.json", help="the tables, as JSON"
        )
        self._add_fine_tuning(subparser)

    def _add_fine_tuning(self, subparser: argparse.ArgumentParser) -> None:
        subparser.add_argument(
            "--epochs", type=natural_number, default=1, metavar="N",
            help="epochs of fine-tuning on DATA, with the archive's trainer config (0: "
            "none). An objective with stages divides them; if they are too few, all exits train at "
            "once",
        )  # fmt: skip
        subparser.add_argument(
            "--learning-rate", type=positive_float, metavar="RATE",
            help="learning rate of the fine-tuning (default: the archive's)",
        )  # fmt: skip
        subparser.add_argument(
            "--validation", metavar="DATA",
            help="labelled rows for temperatures and accuracy (default: FILE#validation if DATA "
            "is FILE#train; else the validation data that the archive was trained with)",
        )  # fmt: skip

    def run(self, arguments: argparse.Namespace) -> None:
        check_target(arguments.output, arguments.archive, arguments.force)
        if arguments.report:
            check_writable(arguments.report, [".json"])
        if arguments.heads == arguments.width == 1.0:
            raise ConfigurationError("nothing to remove: give a --heads or a --width below 1")
        opened = open_archive(arguments.archive, arguments.cuda_device, arguments.overrides)
        model = _prunable(opened, arguments.heads < 1.0)
        transformer = json.loads(read_member(arguments.archive, _TRANSFORMER))
        config = read_config(arguments.archive, arguments.overrides)
        data = read_data(opened, arguments, config)
        outcome = _prune(arguments, opened, model, data, config)
        assert outcome.final.label is not None
        model.scalings = model.fit_scalings(outcome.final.logits, outcome.final.label)
        report = _report(arguments, model, data, outcome)
        _print(report)
        learned = fingerprints(opened.reader, data.rows)
        report["warnings"] = _warnings(learned, outcome.final, model.objective, arguments.epochs)
        # Heads and units were judged by these rows, so they count even without fine-tuning.
        model.seen.add_training_rows(learned)
        chosen_on = len(model.seen.threshold)
        report["warnings"] += warn_of_stale_choice(model.choice, model.conditions(), chosen_on)
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


def _prunable(opened: Opened, heads: bool) -> MultiExitClassifier:
    """Return the model of an archive, or raise a `ConfigurationError` if it cannot be pruned."""
    model = opened.model
    assert isinstance(model, MultiExitClassifier), "check_target refuses exported models"
    check_prunable(model.encoder.transformer.config, heads)
    return model


def _prune(
    arguments: argparse.Namespace,
    opened: Opened,
    model: MultiExitClassifier,
    data: PruningData,
    config: Dict[str, Any],
) -> _Outcome:
    """Prune the model, fine-tune it, and measure its exits at each stage."""

    def evaluate(stage: str) -> ExitOutputs:
        outputs = run_all_exits(model, opened.reader, data.validation_rows, arguments.batch_size)
        accuracies[stage] = _accuracies(outputs)
        return outputs

    accuracies: Dict[str, List[float]] = {}
    evaluate("before")
    before, parameters = shapes(model.encoder), _parameters(model)
    scores = importance(model, importance_batches(opened, data, arguments))
    prune(model, choose(scores, arguments.heads, arguments.width))
    final = evaluate("after pruning")
    if arguments.epochs:
        fine_tune(
            arguments.archive, model, opened.reader, data.rows, data.validation_rows,
            adapted(config, arguments.epochs, arguments.learning_rate, arguments.cuda_device),
        )  # fmt: skip
        final = evaluate("after fine-tuning")
    return _Outcome(before, parameters, accuracies, final)


def _report(
    arguments: argparse.Namespace, model: MultiExitClassifier, data: PruningData, outcome: _Outcome
) -> Dict[str, Any]:
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
            layer: {stage: exits[position] for stage, exits in outcome.accuracies.items()}
            for position, layer in enumerate(model.exit_layers)
        },
        "temperatures": model.temperatures.tolist(),
        **({} if model.lexical is None else {"mixing": model.mixing.tolist()}),
    }


def _warnings(
    learned: Tensor, final: ExitOutputs, objective: ExitObjective, epochs: int
) -> List[str]:
    """Warn of validation rows that were trained on, and of a stage that was left out."""
    warnings = []
    if overlap := int(torch.isin(final.hashes, learned).sum()):
        warnings.append(
            f"{overlap} of the {len(final.hashes)} validation rows are among the training rows: "
            "accuracies and confidences look better than they are"
        )
    if epochs and objective_for(objective, epochs) is not objective:
        warnings.append(
            f"--epochs {epochs} is too few for the second stage of the archive's objective: all "
            "exits were trained at once"
        )
    return warn(warnings)


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
                "layer": str(layer["layer"]),
                "heads kept": f"{layer['after'].heads} of {layer['before'].heads}",
                "width kept": f"{layer['after'].units} of {layer['before'].units}",
            }
            for layer in report["layers"]
        ]
    )
    before, after = report["parameters"]["before"], report["parameters"]["after"]
    print(f"\nparameters: {before:,} -> {after:,} ({after / before - 1:+.1%})")
    rows, validation = report["validation_rows"], report["validation"]
    print(f"\naccuracy on {rows} rows of {validation}:\n")
    print_table(
        [
            {"exit": f"layer {layer}", **{stage: f"{value:.1%}" for stage, value in stages.items()}}
            for layer, stages in report["accuracy"].items()
        ]
    )
