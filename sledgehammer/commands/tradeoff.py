"""Run `allennlp tradeoff`: show the whole speed/accuracy curve, and choose a setting from it."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

from allennlp.commands.subcommand import Subcommand
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import ExitOutputs, run_all_exits, tradeoff_of
from sledgehammer.analysis.bootstrap import Band, accuracy_band
from sledgehammer.analysis.kept_curve import measure_curve, without_training_rows
from sledgehammer.analysis.plots import check_plot, plot_tradeoff
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.commands.agreement_report import print_changes, run_in_format
from sledgehammer.commands.base import (
    ArchiveCommand,
    check_swept,
    open_and_run,
    parse_policy,
    rows_at,
    write_json,
)
from sledgehammer.commands.seen_rows import add_seen_rows, allowed_rows, warn_of_used_rows
from sledgehammer.commands.titles import picture_title
from sledgehammer.commands.tradeoff_choice import (
    Chosen,
    add_choice,
    check_model,
    checked_wish,
    choose_point,
    wanted,
)
from sledgehammer.commands.tradeoff_report import curves_of, print_curves, series, write_csv
from sledgehammer.engine.curve import CURVE, Curve
from sledgehammer.engine.manifest import is_engine
from sledgehammer.export.changed import check_directory, write_with_choice
from sledgehammer.model.archive_writing import check_target, write_changed
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.chosen_setting import choice_bytes
from sledgehammer.model.fitted_rows import PURPOSES
from sledgehammer.network.precision import DTYPES
from sledgehammer.policies import CHOICE, Choice
from sledgehammer.support.files import check_writable


@Subcommand.register("tradeoff")
class TradeoffCommand(ArchiveCommand):
    """Show what every threshold (or other setting) of an archive gives on some data; choose one.

    All exits run once; the curve is computed from their outputs. "Random" stops as many rows at
    each exit, but draws them blindly; "oracle" stops every row at the earliest exit that is right.
    """

    name = "tradeoff"
    example = (
        "allennlp tradeoff out/sst/model.tar.gz dev.txt --plot curve.html \\\n"
        "      --max-accuracy-drop 0.01 --delta 0.1 --write out/sst/fast.tar.gz"
    )

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        curve = subparser.add_argument_group("the curve")
        curve.add_argument(
            "--thresholds", "--settings", type=float, nargs="+", metavar="T", dest="settings",
            help="show only these thresholds, or values of the policy's own setting",
        )  # fmt: skip
        curve.add_argument(
            "--exact", action="store_true", help="show every value at which an answer changes"
        )
        curve.add_argument(
            "--policy", metavar="JSON", help='instead of the archive\'s own: {"type": "patience"}'
        )
        curve.add_argument("--output", type=Path, metavar="FILE.json|.csv", help="all figures")
        curve.add_argument("--plot", type=Path, metavar="FILE.png|.svg|.pdf|.html")
        curve.add_argument(
            "--engine", metavar="DIR", help="run this model, exported from ARCHIVE, in its place"
        )
        curve.add_argument(
            "--versus", action="append", default=[], metavar="ARCHIVE",
            help="another archive to draw into the plot (repeatable)",
        )  # fmt: skip
        curve.add_argument(
            "--dtype",
            choices=sorted(DTYPES),
            help="compute in this number format, and report what that changes",
        )
        choosing = subparser.add_argument_group("choosing a setting")
        add_choice(choosing)
        add_seen_rows(choosing)
        choosing.add_argument(
            "--write", type=Path, metavar="NEW",
            help="write a copy of what was run, archive or exported model, with the chosen setting",
        )  # fmt: skip
        choosing.add_argument("--force", action="store_true", help="overwrite NEW")

    def run(self, arguments: argparse.Namespace) -> None:
        wish = checked_wish(arguments)
        _check_files(arguments)
        dtype = arguments.dtype
        if dtype and arguments.engine:
            raise ConfigurationError(
                "--dtype is for archives: the precision of exported models is fixed"
            )
        opened, rows, outputs = open_and_run(
            arguments,
            dtype="float32" if dtype else None,
            engine=arguments.engine,
            check=partial(_use_policy, arguments),
            select=partial(allowed_rows, arguments),
        )
        changes = None
        if dtype:
            outputs, changes = run_in_format(opened, rows, outputs, dtype, arguments.batch_size)
            print_changes(changes)
        tradeoff = tradeoff_of(opened, outputs)
        report = _report(arguments, opened, tradeoff, changes)
        print_curves(report)
        seen = opened.model.seen
        consequence = "the figures look better than they are; use other rows"
        warnings = warn_of_used_rows(seen, outputs.hashes, dict.fromkeys(PURPOSES, consequence))
        report["warnings"] = warnings
        chosen = None
        if not wish.is_empty:
            curve = report["curves"]["policy"]
            chosen = choose_point(tradeoff, curve, wish, arguments, seen, warnings)
            report["chosen"] = {
                **chosen.point.figures(), "delta": arguments.delta,
                "guaranteed": chosen.delta is not None, "each_exit": arguments.each_exit,
            }  # fmt: skip
        _write_files(report, chosen, opened, arguments)
        if arguments.write:
            assert chosen is not None
            _write_model(chosen, wanted(wish), opened, outputs, arguments)
        for file in filter(None, (arguments.output, arguments.plot)):
            print(f"wrote {file}", file=sys.stderr)


def _report(
    arguments: argparse.Namespace, opened: Opened, tradeoff: Tradeoff, changes: Any
) -> Dict[str, Any]:
    curve = tradeoff.curve(_progress(_settings(arguments, tradeoff)))
    others = {archive: _other_curve(archive, arguments) for archive in arguments.versus}
    return {
        "archive": arguments.archive,
        "engine": arguments.engine,
        "data": arguments.data,
        "rows": len(tradeoff.label),
        "exit_layers": tradeoff.exit_layers,
        "full_layers": tradeoff.full_layers,
        "policy": opened.model.policy.config(),
        "number_format": changes,
        "curves": curves_of(tradeoff, curve),
        "versus": {name: points for name, (points, _) in others.items()},
        "bands": {
            "policy": accuracy_band(tradeoff, curve),
            **{name: band for name, (_, band) in others.items()},
        },
    }


def _check_files(arguments: argparse.Namespace) -> None:
    if arguments.output:
        check_writable(arguments.output, [".json", ".csv"])
    if arguments.plot:
        check_plot(arguments.plot, pages=True)
    if arguments.write and _run_engine(arguments):
        check_directory(arguments.write, arguments.force)
    elif arguments.write:
        check_target(arguments.write, arguments.archive, arguments.force)


def _run_engine(arguments: argparse.Namespace) -> Optional[str]:
    """Return the exported model that is run, if it is one."""
    if arguments.engine or not is_engine(arguments.archive):
        return arguments.engine
    return str(arguments.archive)


def _use_policy(arguments: argparse.Namespace, model: ExitClassifier) -> None:
    """Give the model the requested policy and check all settings, before anything runs."""
    if arguments.policy:
        model.policy = parse_policy(arguments.policy)
    check_model(arguments, model)
    for value in arguments.settings or []:
        check_swept(model.policy, value)
    if unready := model.policy.unready():
        raise ConfigurationError(unready)


def _settings(arguments: argparse.Namespace, tradeoff: Tradeoff) -> List[float]:
    if arguments.exact:
        return tradeoff.distinct_settings()
    return arguments.settings or tradeoff.grid()


def _progress(settings: List[float]) -> Iterable[float]:
    return Tqdm.tqdm(settings, "replaying", disable=len(settings) < 1000)


def _other_curve(archive: str, arguments: argparse.Namespace) -> Tuple[List[Point], Band]:
    """Return the curve of an archive to compare with: one point if it has a single exit."""
    opened = open_archive(archive, arguments.cuda_device)
    rows = rows_at(arguments.data, arguments, opened.reader)
    tradeoff = tradeoff_of(
        opened, run_all_exits(opened.model, opened.reader, rows, arguments.batch_size)
    )
    curve = tradeoff.curve(tradeoff.grid() if len(tradeoff.exit_layers) > 1 else [tradeoff.full])
    return curve, accuracy_band(tradeoff, curve)


def _write_files(
    report: Dict[str, Any],
    chosen: Optional[Chosen],
    opened: Opened,
    arguments: argparse.Namespace,
) -> None:
    if arguments.output:
        if arguments.output.suffix == ".json":
            write_json(report, arguments.output)
        else:
            write_csv(report, arguments.output)
    if arguments.plot:
        path = arguments.engine or arguments.archive
        rows = report["rows"]
        title = picture_title(path, opened, arguments.data, rows, arguments.data_format is not None)
        point = None if chosen is None else chosen.point
        plot_tradeoff(series(report), arguments.plot, title, point)


def _write_model(
    chosen: Chosen,
    wish: Dict[str, float],
    opened: Opened,
    outputs: ExitOutputs,
    arguments: argparse.Namespace,
) -> None:
    """Write a copy of what was run, archive or exported model, with the chosen setting."""
    model = opened.model
    model.policy = chosen.policy
    model.seen.threshold = outputs.hashes
    choice = Choice(
        model.conditions(), wish, len(outputs.hashes), arguments.data, chosen.delta,
        arguments.each_exit,
    )  # fmt: skip
    policy = chosen.policy.config()
    curve = _kept_curve(opened, outputs, arguments.data)
    if engine := _run_engine(arguments):
        source = Path(engine)
        seen_rows = model.seen.as_lists()
        write_with_choice(
            source, arguments.write, policy, seen_rows, choice, curve, arguments.force
        )
        print(f"\nexported model: {arguments.write}")
        return
    weights = {f"seen.{name}": getattr(model.seen, name) for name in PURPOSES}
    write_changed(
        arguments.archive, arguments.write, weights, policy,
        {CHOICE: choice_bytes(choice), **({} if curve is None else {CURVE: curve.as_bytes()})},
        arguments.dtype, overwrite=arguments.force,
    )  # fmt: skip
    print(f"\nnew archive: {arguments.write}")


def _kept_curve(opened: Opened, outputs: ExitOutputs, data: str) -> Optional[Curve]:
    """Return the curve that the written model carries, unless all its rows trained the model."""
    unused = without_training_rows(opened, outputs)
    return None if unused is None else measure_curve(opened, unused, data)
