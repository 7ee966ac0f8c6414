"""`allennlp tradeoff`: the whole speed/accuracy curve, and a setting chosen from it."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

from allennlp.commands.subcommand import Subcommand
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import ExitOutputs, replay, run_all_exits
from sledgehammer.analysis.bootstrap import Band, accuracy_band
from sledgehammer.analysis.plots import check_plot, plot_tradeoff
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.commands.agreement_report import print_changes, run_in_format
from sledgehammer.commands.base import (
    ArchiveCommand,
    check_swept,
    open_and_run,
    parse_policy,
    warn_if_seen,
    write_json,
)
from sledgehammer.commands.titles import picture_title
from sledgehammer.commands.tradeoff_choice import checked_wish, choose_point
from sledgehammer.commands.tradeoff_report import print_curves, series, write_csv
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import Opened, check_target, open_archive, write_changed
from sledgehammer.model.base import ExitClassifier
from sledgehammer.network.precision import DTYPES
from sledgehammer.support.files import check_writable


@Subcommand.register("tradeoff")
class TradeoffCommand(ArchiveCommand):
    """Show what every threshold of an archive, or other setting, gives on some data; choose one.

    All exits run once; the curve is computed from their outputs. "Random" stops as many rows at
    each exit, drawn blindly; "oracle" stops every row at its earliest right exit.
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
            help="only these: thresholds, or values of what else the policy sweeps",
        )  # fmt: skip
        curve.add_argument("--exact", action="store_true", help="every value that differs")
        curve.add_argument(
            "--policy", metavar="JSON", help='not the archive\'s own: {"type": "patience"}'
        )
        curve.add_argument("--output", type=Path, metavar="FILE.json|.csv", help="all figures")
        curve.add_argument("--plot", type=Path, metavar="FILE.png|.svg|.pdf|.html")
        curve.add_argument(
            "--engine", metavar="DIR", help="run this exported model of ARCHIVE in its place"
        )
        curve.add_argument(
            "--versus", action="append", default=[], metavar="ARCHIVE",
            help="another archive to draw into the plot (repeatable)",
        )  # fmt: skip
        curve.add_argument(
            "--dtype", choices=sorted(DTYPES), help="compute in it; say what that changes"
        )
        choice = subparser.add_argument_group("choosing a setting")
        choice.add_argument("--min-accuracy", type=float, metavar="A", help="such as 0.92")
        choice.add_argument(
            "--max-accuracy-drop", type=float, metavar="E", help="against the last exit, as 0.01"
        )
        choice.add_argument(
            "--max-inconsistency", type=float, metavar="E", help="answers not the last exit's"
        )
        choice.add_argument("--min-speedup", type=float, metavar="S", help="layer speedup, as 3")
        choice.add_argument(
            "--delta", type=float, metavar="D",
            help="guarantee E: the true drop (or inconsistency) exceeds it with probability <= D",
        )  # fmt: skip
        choice.add_argument(
            "--write", type=Path, metavar="NEW_ARCHIVE", help="with the chosen setting"
        )
        choice.add_argument("--force", action="store_true", help="overwrite NEW_ARCHIVE")

    def run(self, arguments: argparse.Namespace) -> None:
        wish = checked_wish(arguments)
        _check_files(arguments)
        dtype = arguments.dtype
        if dtype and arguments.engine:
            raise ConfigurationError("--dtype is for archives: an exported model has one precision")
        opened, rows, outputs = open_and_run(
            arguments,
            dtype="float32" if dtype else None,
            engine=arguments.engine,
            check=partial(_use_policy, arguments),
        )
        changes = None
        if dtype:
            outputs, changes = run_in_format(opened, rows, outputs, dtype, arguments.batch_size)
            print_changes(changes)
        tradeoff = replay(opened, outputs)
        curve = tradeoff.curve(_progress(_settings(arguments, tradeoff)))
        others = {name: _other(name, arguments) for name in arguments.versus}
        report: Dict[str, Any] = {
            "archive": arguments.archive,
            "engine": arguments.engine,
            "data": arguments.data,
            "rows": len(outputs.hashes),
            "exit_layers": tradeoff.exit_layers,
            "full_layers": tradeoff.full_layers,
            "policy": opened.model.policy.config(),
            "number_format": changes,
            "curves": {
                "policy": curve,
                "random": tradeoff.random_exits(curve),
                "single exits": tradeoff.single_exits(),
                "oracle": [tradeoff.oracle()],
            },
            "versus": {name: points for name, (points, _) in others.items()},
            "bands": {
                "policy": accuracy_band(tradeoff, curve),
                **{name: band for name, (_, band) in others.items()},
            },
        }
        print_curves(report)
        report["warnings"] = warn_if_seen(
            opened.model, "temperatures", outputs.hashes,
            "the figures flatter, and no guarantee holds; use other rows",
        )  # fmt: skip
        chosen = None
        if not wish.is_empty:
            chosen = choose_point(tradeoff, curve, wish, arguments)
            report["chosen"] = {**chosen.figures(), "delta": arguments.delta}
        _write_all(report, chosen, opened, outputs, arguments)


def _check_files(arguments: argparse.Namespace) -> None:
    if arguments.output:
        check_writable(arguments.output, [".json", ".csv"])
    if arguments.plot:
        check_plot(arguments.plot, pages=True)
    if arguments.write:
        check_target(arguments.write, arguments.archive, arguments.force)


def _use_policy(arguments: argparse.Namespace, model: ExitClassifier) -> None:
    """Have the model use the policy that was asked for, and check settings, before anything runs."""
    if arguments.policy:
        model.policy = parse_policy(arguments.policy)
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


def _other(name: str, arguments: argparse.Namespace) -> Tuple[List[Point], Band]:
    """Return the curve of an archive to compare with; of one with a single exit, its one point."""
    opened = open_archive(name, arguments.cuda_device)
    rows = read_rows(opened.reader, arguments.data, arguments.json_lines)
    tradeoff = replay(
        opened, run_all_exits(opened.model, opened.reader, rows, arguments.batch_size)
    )
    curve = tradeoff.curve(tradeoff.grid() if len(tradeoff.exit_layers) > 1 else [tradeoff.full])
    return curve, accuracy_band(tradeoff, curve)


def _write_all(
    report: Dict[str, Any],
    chosen: Optional[Point],
    opened: Opened,
    outputs: ExitOutputs,
    arguments: argparse.Namespace,
) -> None:
    if arguments.output:
        if arguments.output.suffix == ".json":
            write_json(report, arguments.output)
        else:
            write_csv(report, arguments.output)
    if arguments.plot:
        path = arguments.engine or arguments.archive
        title = picture_title(
            path, opened, arguments.data, len(outputs.hashes), arguments.json_lines
        )
        plot_tradeoff(series(report), arguments.plot, title, chosen)
    if arguments.write:
        assert chosen is not None and chosen.setting is not None
        seen = opened.model.seen
        policy = opened.model.policy
        policy.change({policy.sweeps: chosen.setting})
        weights = {"seen.threshold": outputs.hashes, "seen.temperatures": seen.temperatures}
        write_changed(
            arguments.archive, arguments.write, weights, policy.config(), dtype=arguments.dtype
        )
        print(f"\nnew archive: {arguments.write}")
    for file in filter(None, (arguments.output, arguments.plot)):
        print(f"wrote {file}", file=sys.stderr)
