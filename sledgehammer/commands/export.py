"""Run `allennlp export`: write a model that runs without AllenNLP and torch."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import List, Optional

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import run_all_exits
from sledgehammer.cards.of_engine import VERIFICATION
from sledgehammer.commands.base import ArchiveCommand, rows_at
from sledgehammer.commands.export_choice import AUTO, candidates_of, export_fastest
from sledgehammer.commands.export_verification import verify
from sledgehammer.commands.kept_card import keep_card
from sledgehammer.commands.kept_curve import keep_curve
from sledgehammer.commands.seen_rows import warn_of_stale_choice, warn_of_used_rows
from sledgehammer.commands.temperature_checks import (
    add_few_rows,
    check_enough_rows,
    warn_at_bounds,
)
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine.manifest import Manifest, write
from sledgehammer.export.changed import check_directory
from sledgehammer.export.directory import PRECISIONS, RUNTIMES, Format, export, range_batches
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.support.files import replacing_folder

CURVE_ROWS = ("curve", "verify", "recalibrate")
"""The options with labelled rows; the first that is given says which the curve is measured on."""


@Subcommand.register("export")
class ExportCommand(ArchiveCommand):
    """Write an archive as a directory that `sledgehammer.engine` runs, without AllenNLP and torch.

    Each exit becomes one graph. Float32 graphs are checked against the archive as they are
    written; with --verify the command reports what another precision changes. Except in
    int8-dynamic, a text's answer does not depend on the texts that run with it.
    """

    name = "export"
    archive_help = "a trained archive (model.tar.gz), or its folder"
    second = ("directory", "the directory to write")
    example = "allennlp export out/sst/model.tar.gz out/sst_int8 --precision int8 --verify dev.txt"

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        subparser.add_argument("--format", choices=list(RUNTIMES), default="onnx")
        subparser.add_argument(
            "--precision", choices=[*PRECISIONS, AUTO], default="fp32",
            help=f"{AUTO}: the fastest on this machine, of those in which a text's answer does not "
            "depend on its neighbours",
        )  # fmt: skip
        subparser.add_argument(
            "--verify", metavar="DATA",
            help="report what the precision changes on these rows, and whether neighbours change answers",
        )  # fmt: skip
        subparser.add_argument(
            "--recalibrate", metavar="DATA", help="fit the temperatures to the exported exits"
        )
        subparser.add_argument(
            "--curve", metavar="DATA",
            help="rows for the curve, and the reference for drift, that the directory carries "
            "(default: those of --verify, else those of --recalibrate)",
        )  # fmt: skip
        add_few_rows(subparser)
        subparser.add_argument(
            "--ranges", metavar="DATA",
            help="rows to measure the ranges of activations on (openvino int8; no labels needed)",
        )  # fmt: skip
        subparser.add_argument("--force", action="store_true", help="replace the directory")

    def run(self, arguments: argparse.Namespace) -> None:
        formats = _formats(arguments)
        target = Path(arguments.directory)
        check_directory(target, arguments.force)
        for format in formats:
            format.require_libraries()
        needs_calibration = any(format.needs_calibration for format in formats)
        if needs_calibration and not arguments.ranges:
            raise ConfigurationError(
                "openvino int8 needs data to measure the ranges of activations on: give "
                "--ranges DATA (training data will do)"
            )
        opened = open_archive(arguments.archive, arguments.cuda_device, arguments.overrides)
        data = {
            name: _rows(opened, getattr(arguments, name), arguments, name != "ranges")
            for name in (*CURVE_ROWS, "ranges")
        }
        ranges = range_batches(opened, data["ranges"]) if needs_calibration else None
        with replacing_folder(target, arguments.force) as folder:
            if len(formats) == 1:
                manifest = export(arguments.archive, opened, formats[0], folder, ranges).manifest
            else:
                manifest = export_fastest(arguments.archive, opened, formats, folder, ranges)
            if data["recalibrate"]:
                manifest = _recalibrate(folder, manifest, data["recalibrate"], arguments)
            if data["verify"]:
                _verify(folder, opened, data["verify"], arguments)
            elif manifest.precision != "fp32":
                print(f"what {manifest.precision} changes was not measured: give --verify DATA")
            for name in CURVE_ROWS:
                if data[name]:
                    path = getattr(arguments, name)
                    keep_curve(folder, data[name], path, arguments.batch_size)
                    break
            write(folder, manifest)
            keep_card(folder, target)
            _warn(opened, manifest)
        print(f"\nexported model: {target}")


def _verify(folder: Path, opened: Opened, rows: List[Row], arguments: argparse.Namespace) -> None:
    """Report what the export changes, and keep the report."""
    verification = verify(opened, folder, rows, arguments.verify, arguments.batch_size)
    (folder / VERIFICATION).write_text(json.dumps(verification, indent=2) + "\n")


def _warn(opened: Opened, manifest: Manifest) -> None:
    """Warn if the policy's setting was chosen for other temperatures or another precision."""
    model = opened.model
    changed = (
        manifest.number_format != model.number_format
        or manifest.temperatures != model.temperatures.tolist()
    )
    chosen_on = len(model.seen.threshold) if changed else 0
    warn_of_stale_choice(model.choice, manifest.conditions(), chosen_on)


def _formats(arguments: argparse.Namespace) -> List[Format]:
    """Return the requested format, or those to choose from."""
    if arguments.precision == AUTO:
        return candidates_of(arguments.format, with_ranges=bool(arguments.ranges))
    return [Format(arguments.format, arguments.precision)]


def _rows(
    opened: Opened, path: Optional[str], arguments: argparse.Namespace, labelled: bool
) -> List[Row]:
    return rows_at(path, arguments, opened.reader, labelled) if path else []


def _recalibrate(
    folder: Path, manifest: Manifest, rows: List[Row], arguments: argparse.Namespace
) -> Manifest:
    """Fit the temperatures to the exported exits, write them, and return the new manifest."""
    exported = open_archive(str(folder))
    outputs = run_all_exits(exported.model, exported.reader, rows, arguments.batch_size)
    assert outputs.label is not None
    if not arguments.few_rows:
        check_enough_rows(outputs.label, manifest.labels)
    scalings = exported.model.fit_scalings(outputs.logits, outputs.label)
    temperatures = [scaling.temperature for scaling in scalings]
    warn_at_bounds(temperatures, manifest.exit_layers)
    seen = exported.model.seen
    consequence = "the model is more confident on them than on others; use other rows"
    warn_of_used_rows(seen, outputs.hashes, dict.fromkeys(("weights", "threshold"), consequence))
    seen.temperatures = outputs.hashes
    (folder / "seen.json").write_text(json.dumps(seen.as_lists()), encoding="utf-8")
    exported.model.scalings = scalings
    exported.model.measure_shares(outputs.logits)
    shares = exported.model.exit_shares.tolist()
    changed = dataclasses.replace(manifest, temperatures=temperatures, exit_shares=shares)
    if exported.model.lexical is not None:
        changed = dataclasses.replace(changed, mixing=[scaling.mixing for scaling in scalings])
    write(folder, changed)
    before = ", ".join(f"{t:.3f}" for t in manifest.temperatures)
    after = ", ".join(f"{t:.3f}" for t in temperatures)
    print(f"temperatures: {before} -> {after}")
    return changed
