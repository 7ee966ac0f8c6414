"""Run `allennlp benchmark`: measure wall-clock times of exits against their rivals."""

import argparse
from datetime import date
from pathlib import Path
from typing import Any, Dict, List, Optional

from allennlp.commands.subcommand import Subcommand

from sledgehammer.analysis.all_exits import run_all_exits, tradeoff_of
from sledgehammer.analysis.plots import check_plot
from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.first_answer import as_line, first_answers
from sledgehammer.benchmark.machine import describe_machine
from sledgehammer.benchmark.rounds import Workload, time_contenders
from sledgehammer.commands.base import ArchiveCommand, check_swept, write_json
from sledgehammer.commands.benchmark_choice import read_parts, used_row_warnings
from sledgehammer.commands.benchmark_contenders import (
    add_rivals,
    check_paths,
    choose_rivals,
    find_weights,
    name_points,
    open_standard,
)
from sledgehammer.commands.benchmark_report import plot, print_report
from sledgehammer.commands.benchmark_words import (
    add_word_rivals,
    check_word_rivals,
    choose_word_rivals,
)
from sledgehammer.commands.titles import picture_title
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine.manifest import is_engine
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.files import check_writable
from sledgehammer.support.owned import scratch_folder


@Subcommand.register("benchmark")
class BenchmarkCommand(ArchiveCommand):
    """Time an archive, or exported models, against models without exits, in one run.

    Every contender runs in its own process; they take turns, and ratios are computed round by
    round. Latency includes tokenising. Each contender gets its own threshold: the fastest that
    loses at most --max-accuracy-drop against its own last exit on --choose-on, or else on half of
    DATA, whose rows are then left out of the report.
    """

    name = "benchmark"
    example = (
        "allennlp benchmark out/sst_int8 dev.txt --choose-on valid.txt --eager --onnx-int8 \\\n"
        "      --output speed.json --plot speed.png"
    )

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        timed = subparser.add_argument_group("what is timed")
        timed.add_argument(
            "--engine", action="append", default=[], metavar="DIR",
            help="another exported model (repeatable)",
        )  # fmt: skip
        add_rivals(timed)
        add_word_rivals(timed)
        timed.add_argument(
            "--first-answer",
            action="store_true",
            help="also time fresh processes from their start to their first answer",
        )
        choosing = subparser.add_argument_group("where the exits stop")
        choosing.add_argument(
            "--thresholds", "--settings", type=float, nargs="+", metavar="T", dest="settings",
            help="time these thresholds, or values of the policy's own setting, and choose none",
        )  # fmt: skip
        choosing.add_argument("--max-accuracy-drop", type=float, default=0.01, metavar="E")
        choosing.add_argument(
            "--choose-on",
            metavar="DATA",
            help="rows to choose the thresholds on (default: half of DATA)",
        )
        rounds = subparser.add_argument_group("the rounds")
        rounds.add_argument(
            "--batch-sizes", type=positive_int, nargs="+", default=[1, 8, 32], metavar="N"
        )
        rounds.add_argument(
            "--threads",
            type=positive_int,
            nargs="+",
            metavar="N",
            help="default: 1 thread, then all cores",
        )
        rounds.add_argument("--rows", type=positive_int, default=256, metavar="N")
        rounds.add_argument("--rounds", type=positive_int, default=7, metavar="N")
        rounds.add_argument("--output", type=Path, metavar="FILE.json")
        rounds.add_argument("--plot", type=Path, metavar="FILE.png|.svg|.pdf")

    def run(self, arguments: argparse.Namespace) -> None:
        _check(arguments)
        opened = _open_all(arguments)
        paths = list(opened)
        first = opened[arguments.archive]
        parts = read_parts(arguments, first.reader)
        warnings = used_row_warnings(opened, parts, arguments)
        rows, chosen_on, _ = parts
        standard = open_standard(arguments, rows)
        points = {path: _points(opened[path], rows, chosen_on, arguments) for path in paths}
        step = max(1, len(rows) // arguments.rows)
        timed = [list(row.texts) for row in rows[::step][: arguments.rows]]
        weights = find_weights(arguments, first)
        with scratch_folder() as folder:
            rivals, missing = choose_rivals(arguments, weights, chosen_on, folder)
            words = choose_word_rivals(arguments, opened, rows, folder)
            ours = name_points(points, arguments)
            contenders = [*ours, *standard, *rivals, *words.points]
            report = {
                **_description(arguments, contenders, str(folder)),
                "choose_on": None if arguments.settings else parts.name,
                "warnings": [*warnings, *words.warnings],
                "title": picture_title(
                    arguments.archive,
                    first,
                    arguments.data,
                    len(timed),
                    arguments.data_format is not None,
                ),
                "rows": len(timed),
                "accuracy_rows": len(rows),
                "missing": {**missing, **words.missing},
                "answers": {c.name: point for c, point in ours.items()},
                "rival_answers": {c.name: p for c, p in {**standard, **words.points}.items()},
            }
            _add_times(report, contenders, timed, arguments)
            if arguments.first_answer:
                report["first_answer"] = _first_answers(paths, weights, timed[0], first, arguments)
        print_report(report)
        if arguments.output:
            write_json(report, arguments.output)
        if arguments.plot:
            plot(report, arguments.plot)


def _open_all(arguments: argparse.Namespace) -> Dict[str, Opened]:
    """Open the models to be timed, by path, and check the settings that they are timed at."""
    opened = {
        path: open_archive(path, arguments.cuda_device, arguments.overrides)
        for path in (arguments.archive, *arguments.engine)
    }
    for model, _ in opened.values():
        for value in arguments.settings or []:
            check_swept(model.policy, value)
    return opened


def _add_times(
    report: Dict[str, Any],
    contenders: List[Contender],
    texts: List[List[str]],
    arguments: argparse.Namespace,
) -> None:
    """Time the contenders with each number of threads, and add the results to the report."""
    for threads in arguments.threads or sorted({1, usable_cores()}):
        workload = Workload(texts, {}, arguments.batch_sizes, arguments.rounds)
        results, profiles = time_contenders(contenders, threads, workload)
        report["results"] += results
        report["profiles"][threads] = profiles


def _description(
    arguments: argparse.Namespace, contenders: List[Contender], folder: str
) -> Dict[str, Any]:
    """Return the start of a report, which says what is timed on what; results are still missing."""
    return {
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "data": arguments.data,
        "rounds": arguments.rounds,
        "contenders": {c.name: _as_reported(c, folder) for c in contenders},
        "results": [],
        "profiles": {},
    }


def _as_reported(contender: Contender, exported: str) -> Dict[str, Any]:
    """Return a contender's description, for a report that outlives the temporary `exported`."""
    description = contender.as_dict()
    if contender.path.startswith(exported):
        made = "fitted" if contender.kind == "words" else "exported"
        description["path"] = f"({made} for this run)"
    return description


def _check(arguments: argparse.Namespace) -> None:
    Wish(max_accuracy_drop=arguments.max_accuracy_drop)
    check_paths(arguments)
    check_word_rivals(arguments)
    if arguments.output:
        check_writable(arguments.output, [".json"])
    if arguments.plot:
        check_plot(arguments.plot, pages=False)


def _points(
    opened: Opened, rows: List[Row], chosen_on: List[Row], arguments: argparse.Namespace
) -> List[Point]:
    """Return the points of the curve on `rows` at which a model is to be timed."""
    model, reader = opened
    on_data = tradeoff_of(opened, run_all_exits(model, reader, rows, arguments.batch_size))
    if arguments.settings:
        return on_data.curve(arguments.settings)
    chooser = tradeoff_of(opened, run_all_exits(model, reader, chosen_on, arguments.batch_size))
    curve = chooser.curve(chooser.grid())
    wish = Wish(max_accuracy_drop=arguments.max_accuracy_drop)
    chosen = choose(curve, [0.0] * len(curve), curve[-1], wish)
    assert chosen is not None, "the last exit loses nothing"
    return on_data.curve([chosen.number, on_data.full])


def _first_answers(
    paths: List[str],
    weights: Optional[str],
    texts: List[str],
    first: Opened,
    arguments: argparse.Namespace,
) -> Dict[str, Any]:
    commands = {}
    options = ["--include-package", "sledgehammer", "--cuda-device", str(arguments.cuda_device)]
    if arguments.overrides:
        options += ["--overrides", arguments.overrides]
    for path in [*paths, *([weights] if weights and weights not in paths else [])]:
        module = "sledgehammer" if is_engine(path) else "allennlp"
        extra = [] if is_engine(path) else options
        commands[f"{module} predict {path}"] = [module, "predict", path, "-", *extra]
    line = as_line(texts, first.reader.fields)
    timings = first_answers(commands, line, min(5, arguments.rounds))
    return {name: [t.median, *t.quartiles] for name, t in timings.items()}
