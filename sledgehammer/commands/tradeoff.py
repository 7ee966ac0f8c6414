"""`allennlp tradeoff`: the whole speed/accuracy curve, and a threshold chosen from it."""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

from allennlp.commands.subcommand import Subcommand
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError

from sledgehammer.archives import Opened, check_target, open_archive, write_changed
from sledgehammer.arguments import positive_int
from sledgehammer.choice import Wish, choose
from sledgehammer.commands.common import (
    ArchiveCommand,
    open_and_run,
    warn_if_seen,
    write_json,
)
from sledgehammer.commands.number_format import print_changes, run_in_format
from sledgehammer.commands.tradeoff_report import lines, print_curves, print_measurement, write_csv
from sledgehammer.dataset_readers.base import Row
from sledgehammer.measuring import Measurement, measure
from sledgehammer.number_format import DTYPES
from sledgehammer.outputs import ExitOutputs, read_rows, run_all_exits
from sledgehammer.plots import check_plot, plot_tradeoff
from sledgehammer.policies import checked_threshold
from sledgehammer.risk import fastest_safe
from sledgehammer.tradeoff import Point, Tradeoff
from sledgehammer.writing import check_writable

MEASURED = [0.0, 0.7, 0.9, 1.0]
"""Thresholds that `--measure` times unless told which."""


@Subcommand.register("tradeoff")
class TradeoffCommand(ArchiveCommand):
    """Show what every threshold of an archive gives on some data, and choose one.

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
        curve.add_argument("--thresholds", type=float, nargs="+", metavar="T", help="only these")
        curve.add_argument("--exact", action="store_true", help="every threshold that differs")
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
        timing = subparser.add_argument_group("wall-clock times")
        timing.add_argument(
            "--measure", type=float, nargs="*", metavar="T",
            help=f"time these thresholds for real (default {' '.join(map(str, MEASURED))})",
        )  # fmt: skip
        timing.add_argument("--measure-batch-size", type=positive_int, default=1, metavar="N")
        timing.add_argument("--measure-rows", type=positive_int, default=200, metavar="N")
        timing.add_argument("--measure-rounds", type=positive_int, default=7, metavar="N")
        choice = subparser.add_argument_group("choosing a threshold")
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
            "--write", type=Path, metavar="NEW_ARCHIVE", help="with the chosen threshold"
        )
        choice.add_argument("--force", action="store_true", help="overwrite NEW_ARCHIVE")

    def run(self, arguments: argparse.Namespace) -> None:
        wish = _checked_wish(arguments)
        _check_files(arguments)
        dtype = arguments.dtype
        if dtype and arguments.engine:
            raise ConfigurationError("--dtype is for archives: an exported model has one precision")
        opened, rows, outputs = open_and_run(
            arguments, dtype="float32" if dtype else None, engine=arguments.engine
        )
        changes = None
        if dtype:
            outputs, changes = run_in_format(opened, rows, outputs, dtype, arguments.batch_size)
            print_changes(changes)
        tradeoff = replay(opened, outputs)
        curve = tradeoff.curve(_progress(_thresholds(arguments, tradeoff)))
        report: Dict[str, Any] = {
            "archive": arguments.archive,
            "engine": arguments.engine,
            "data": arguments.data,
            "rows": len(outputs.hashes),
            "exit_layers": tradeoff.exit_layers,
            "full_layers": tradeoff.full_layers,
            "number_format": changes,
            "curves": {
                "policy": curve,
                "random": tradeoff.random_exits(curve),
                "single exits": tradeoff.single_exits(),
                "oracle": [tradeoff.oracle()],
            },
            "versus": {name: _other(name, arguments) for name in arguments.versus},
        }
        print_curves(report)
        report["warnings"] = warn_if_seen(
            opened.model, "temperatures", outputs.hashes,
            "the figures flatter, and no guarantee holds; use other rows",
        )  # fmt: skip
        if arguments.measure is not None:
            report["measured"] = _measure(opened, rows, arguments)
        chosen = None
        if not wish.is_empty:
            chosen = _choose(tradeoff, curve, wish, arguments)
            report["chosen"] = {**vars(chosen), "delta": arguments.delta}
        _write_all(report, chosen, opened, outputs, arguments)


def replay(opened: Opened, outputs: ExitOutputs) -> Tradeoff:
    """The trade-off of an archive's policy from the outputs of all exits."""
    assert outputs.label is not None
    model = opened.model
    return Tradeoff(
        model.calibrated(outputs.logits),
        outputs.label,
        model.exit_layers,
        model.full_layers,
        model.policy,
    )


def _checked_wish(arguments: argparse.Namespace) -> Wish:
    wish = Wish(
        arguments.min_accuracy,
        arguments.max_accuracy_drop,
        arguments.max_inconsistency,
        arguments.min_speedup,
    )
    if arguments.write and wish.is_empty:
        raise ConfigurationError(
            "--write needs a condition that chooses the threshold: --min-accuracy, "
            "--max-accuracy-drop, --max-inconsistency or --min-speedup"
        )
    if arguments.delta is not None:
        if not 0 < arguments.delta < 1:
            raise ConfigurationError(f"--delta must be between 0 and 1, got {arguments.delta}")
        bounds = [b for b in (wish.max_accuracy_drop, wish.max_inconsistency) if b is not None]
        others = (wish.min_accuracy, wish.min_speedup)
        if len(bounds) != 1 or not 0 < bounds[0] < 1 or any(o is not None for o in others):
            raise ConfigurationError(
                "--delta guarantees either --max-accuracy-drop or --max-inconsistency (above 0, "
                "below 1), and neither --min-accuracy nor --min-speedup beside it"
            )
    return wish


def _check_files(arguments: argparse.Namespace) -> None:
    for threshold in (arguments.thresholds or []) + (arguments.measure or []):
        checked_threshold(threshold)
    if arguments.output:
        check_writable(arguments.output, [".json", ".csv"])
    if arguments.plot:
        check_plot(arguments.plot, pages=True)
    if arguments.write:
        check_target(arguments.write, arguments.archive, arguments.force)


def _thresholds(arguments: argparse.Namespace, tradeoff: Tradeoff) -> List[float]:
    if arguments.exact:
        return tradeoff.distinct_thresholds()
    return arguments.thresholds or tradeoff.grid()


def _progress(thresholds: List[float]) -> Iterable[float]:
    return Tqdm.tqdm(thresholds, "replaying", disable=len(thresholds) < 1000)


def _other(name: str, arguments: argparse.Namespace) -> List[Point]:
    """The curve of an archive to compare with; of one with a single exit, its one point."""
    opened = open_archive(name, arguments.cuda_device)
    rows = read_rows(opened.reader, arguments.data, arguments.json_lines)
    tradeoff = replay(
        opened, run_all_exits(opened.model, opened.reader, rows, arguments.batch_size)
    )
    return tradeoff.curve(tradeoff.grid() if len(tradeoff.exit_layers) > 1 else [1.0])


def _measure(opened: Opened, rows: List[Row], arguments: argparse.Namespace) -> Measurement:
    thresholds = sorted({*(arguments.measure or MEASURED), 1.0})
    measured = measure(
        opened.model, opened.reader, rows[: arguments.measure_rows], thresholds,
        arguments.measure_batch_size, arguments.measure_rounds,
    )  # fmt: skip
    print_measurement(measured)
    return measured


def _choose(
    tradeoff: Tradeoff, curve: List[Point], wish: Wish, arguments: argparse.Namespace
) -> Point:
    """The point of the chosen threshold, which is printed too.

    # Raises

    `ConfigurationError` if no threshold will do.
    """
    full = tradeoff.curve([1.0])[0]
    if arguments.delta is not None:
        point = _choose_safe(tradeoff, wish, arguments.delta)
    else:
        full_answers = tradeoff.predicted_at(1.0)
        other = [
            float((tradeoff.predicted_at(p.threshold or 0.0) != full_answers).double().mean())
            if wish.max_inconsistency is not None
            else 0.0
            for p in curve
        ]
        found = choose(curve, other, full, wish)
        if found is None:
            raise ConfigurationError(
                f"no threshold gives that: accuracy goes up to {max(p.accuracy for p in curve):.1%}, "
                f"layer speedup up to {max(p.layer_speedup for p in curve):.2f}x, not both at once"
            )
        point = found
    print(
        f"\nchosen threshold: {point.threshold:.6g}\n  accuracy {point.accuracy:.1%} (full model "
        f"{full.accuracy:.1%}), layer speedup {point.layer_speedup:.2f}x, "
        f"{point.mean_layers:.2f} layers on average"
    )
    return point


def _choose_safe(tradeoff: Tradeoff, wish: Wish, delta: float) -> Point:
    risk = "inconsistency" if wish.max_accuracy_drop is None else "accuracy-drop"
    bound = wish.max_inconsistency if wish.max_accuracy_drop is None else wish.max_accuracy_drop
    assert bound is not None
    safe = fastest_safe(tradeoff, bound, delta, risk)
    if safe is None:
        print(
            f"\nNo threshold can be shown to keep the {risk} below {bound:g} with probability "
            f"{1 - delta:g} on {len(tradeoff.label)} rows: only the full model is safe. More rows, "
            "a larger bound or a larger delta may help."
        )
    else:
        print(
            f"\nWith probability at least {1 - delta:g} the true {risk} is at most {bound:g} "
            "(for rows drawn as these were)."
        )
    return tradeoff.curve([1.0 if safe is None else safe])[0]


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
        plot_tradeoff(lines(report), arguments.plot, arguments.data, chosen)
    if arguments.write:
        assert chosen is not None and chosen.threshold is not None
        seen = opened.model.seen
        weights = {"seen.threshold": outputs.hashes, "seen.temperatures": seen.temperatures}
        write_changed(
            arguments.archive, arguments.write, weights, chosen.threshold, dtype=arguments.dtype
        )
        print(f"\nnew archive: {arguments.write}")
    for file in filter(None, (arguments.output, arguments.plot)):
        print(f"wrote {file}", file=sys.stderr)
