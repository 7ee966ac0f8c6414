"""`allennlp export`: a model that runs without AllenNLP and torch."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import List, Optional

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.agreement import Agreement, compare
from sledgehammer.analysis.all_exits import replayed, run_all_exits
from sledgehammer.calibration import fit_temperatures
from sledgehammer.commands.agreement_report import agreement_cells
from sledgehammer.commands.base import ArchiveCommand, as_json, print_table
from sledgehammer.commands.seen_rows import warn_if_seen, warn_of_choice
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.engine.manifest import Manifest, write
from sledgehammer.export.changed import check_directory
from sledgehammer.export.directory import RUNTIMES, Format, export, range_batches
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.policies import exit_shares
from sledgehammer.support.files import replacing_folder


@Subcommand.register("export")
class ExportCommand(ArchiveCommand):
    """Write an archive as a directory that `sledgehammer.engine` runs, without AllenNLP and torch.

    There is one graph an exit. Float32 graphs are checked against the archive as they are
    written; what another precision changes is told on the rows of --verify.
    """

    name = "export"
    archive_help = "a trained archive (model.tar.gz), or its folder"
    second = ("directory", "to write")
    example = "allennlp export out/sst/model.tar.gz out/sst_int8 --precision int8 --verify dev.txt"

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        subparser.add_argument("--format", choices=list(RUNTIMES), default="onnx")
        subparser.add_argument("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
        subparser.add_argument(
            "--verify", metavar="DATA", help="tell what the precision changes on these rows"
        )
        subparser.add_argument(
            "--recalibrate", metavar="DATA", help="fit the temperatures to the exported exits"
        )
        subparser.add_argument(
            "--ranges", metavar="DATA",
            help="rows to take the ranges of activations from (openvino int8; no labels needed)",
        )  # fmt: skip
        subparser.add_argument("--force", action="store_true", help="replace the directory")

    def run(self, arguments: argparse.Namespace) -> None:
        format = Format(arguments.format, arguments.precision)
        target = Path(arguments.directory)
        check_directory(target, arguments.force)
        format.require_libraries()
        if format.needs_calibration and not arguments.ranges:
            raise ConfigurationError(
                "openvino int8 takes the ranges of activations from data: give --ranges DATA "
                "(training data will do)"
            )
        opened = open_archive(arguments.archive, arguments.cuda_device, arguments.overrides)
        data = {
            name: _rows(opened, getattr(arguments, name), arguments.json_lines, name != "ranges")
            for name in ("verify", "recalibrate", "ranges")
        }
        ranges = range_batches(opened, data["ranges"]) if format.needs_calibration else None
        with replacing_folder(target) as folder:
            manifest = export(arguments.archive, opened, format, folder, ranges).manifest
            if data["recalibrate"]:
                manifest = _recalibrate(folder, manifest, data["recalibrate"], arguments.batch_size)
            if data["verify"]:
                found = _verify(opened, folder, data["verify"], arguments.batch_size)
                _print_agreement(found, arguments.verify)
                content = {"data": arguments.verify, **as_json(found)}
                (folder / "verification.json").write_text(json.dumps(content, indent=2) + "\n")
                write(folder, manifest)
            elif format.precision != "fp32":
                print(f"what {format.precision} changes was not measured: give --verify DATA")
            _warn(opened, manifest)
        print(f"\nexported model: {target}")


def _warn(opened: Opened, manifest: Manifest) -> None:
    """Warn if the policy's setting was chosen for other temperatures, or another precision."""
    model = opened.model
    changed = (
        manifest.number_format != model.number_format
        or manifest.temperatures != model.temperatures.tolist()
    )
    chosen_on = len(model.seen.threshold) if changed else 0
    warn_of_choice(model.choice, manifest.conditions(), chosen_on)


def _rows(opened: Opened, path: Optional[str], json_lines: bool, labelled: bool) -> List[Row]:
    return read_rows(opened.reader, path, json_lines, labelled) if path else []


def _recalibrate(folder: Path, manifest: Manifest, rows: List[Row], batch_size: int) -> Manifest:
    """Write the temperatures that fit the exported exits; the manifest with them."""
    exported = open_archive(str(folder))
    outputs = run_all_exits(exported.model, exported.reader, rows, batch_size)
    assert outputs.label is not None
    temperatures = fit_temperatures(outputs.logits, outputs.label)
    seen = exported.model.seen
    surer = "the model is surer of them than of others; use other rows"
    warn_if_seen(exported.model, outputs.hashes, {"weights": surer, "threshold": surer})
    seen.temperatures = outputs.hashes
    (folder / "seen.json").write_text(json.dumps(seen.as_lists()), encoding="utf-8")
    exported.model.temperatures.copy_(torch.tensor(temperatures))
    shares = exit_shares(exported.model.calibrated(outputs.logits).numpy()).tolist()
    changed = dataclasses.replace(manifest, temperatures=temperatures, exit_shares=shares)
    write(folder, changed)
    before = ", ".join(f"{t:.3f}" for t in manifest.temperatures)
    after = ", ".join(f"{t:.3f}" for t in temperatures)
    print(f"temperatures: {before} -> {after}")
    return changed


def _verify(opened: Opened, folder: Path, rows: List[Row], batch_size: int) -> Agreement:
    exported = open_archive(str(folder))
    outputs = [run_all_exits(*either, rows, batch_size) for either in (opened, exported)]
    # Each with its own temperatures.
    before, after = (
        replayed(either.model, found) for either, found in zip((opened, exported), outputs)
    )
    return compare(before, after, opened.model.exit_layers, outputs[0].label)


def _print_agreement(found: Agreement, data: str) -> None:
    print(f"\nagainst the archive, on {found.rows} rows of {data}, with its policy:\n")
    print_table([agreement_cells(found)])
