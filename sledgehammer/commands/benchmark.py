"""`allennlp benchmark`: wall-clock times of exits against their rivals."""

import argparse
import tempfile
from datetime import date
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import replay, run_all_exits
from sledgehammer.analysis.plots import check_plot
from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.first_answer import as_line, first_answers
from sledgehammer.benchmark.machine import describe_machine
from sledgehammer.benchmark.rounds import Setting, time_contenders
from sledgehammer.commands.base import ArchiveCommand, check_swept, write_json
from sledgehammer.commands.benchmark_report import plot, print_report
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.engine.manifest import is_engine
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.export.directory import Format, export, range_batches
from sledgehammer.model.archives import Opened, open_archive, weights_sha256
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.files import check_writable

RIVALS = {
    "eager": "transformers' full model, float32",
    "eager-bf16": "transformers' full model, bfloat16",
    "cut": "transformers' models cut after each exit's layer, float32",
    "onnx-fp32": "the full model in ONNX Runtime, float32",
    "onnx-int8": "the full model in ONNX Runtime, int8",
    "openvino-bf16": "the full model in OpenVINO, bfloat16",
    "openvino-int8": "the full model in OpenVINO, int8",
}


@Subcommand.register("benchmark")
class BenchmarkCommand(ArchiveCommand):
    """Time an archive, or exported models, against models without exits, in one run.

    Every contender has a process of its own; they take turns, and ratios are taken round by
    round. Tokenising is part of a latency. Thresholds are each contender's own: the fastest that
    loses no more than --max-accuracy-drop against its own last exit on --choose-on.
    """

    name = "benchmark"
    example = (
        "allennlp benchmark out/sst_int8 dev.txt --choose-on valid.txt --eager --onnx-int8 \\\n"
        "      --output speed.json --plot speed.png"
    )

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        own = subparser.add_argument_group("what is timed")
        own.add_argument(
            "--engine", action="append", default=[], metavar="DIR",
            help="another exported model (repeatable)",
        )  # fmt: skip
        own.add_argument(
            "--weights", metavar="ARCHIVE",
            help="where the rivals' weights come from, if an exported model's archive has moved",
        )  # fmt: skip
        for name, description in RIVALS.items():
            own.add_argument(f"--{name}", action="store_true", help=description)
        own.add_argument("--all-rivals", action="store_true")
        own.add_argument(
            "--first-answer", action="store_true", help="also time fresh processes to their answer"
        )
        choice = subparser.add_argument_group("where the exits stop")
        choice.add_argument(
            "--thresholds", "--settings", type=float, nargs="+", metavar="T", dest="settings",
            help="just these: thresholds, or what else the policy goes by",
        )  # fmt: skip
        choice.add_argument("--max-accuracy-drop", type=float, default=0.01, metavar="E")
        choice.add_argument(
            "--choose-on", metavar="DATA", help="rows to choose the thresholds on (else DATA)"
        )
        rounds = subparser.add_argument_group("the rounds")
        rounds.add_argument(
            "--batch-sizes", type=positive_int, nargs="+", default=[1, 8, 32], metavar="N"
        )
        rounds.add_argument(
            "--threads", type=positive_int, nargs="+", metavar="N", help="default: 1, and all"
        )
        rounds.add_argument("--rows", type=positive_int, default=256, metavar="N")
        rounds.add_argument("--rounds", type=positive_int, default=7, metavar="N")
        rounds.add_argument("--output", type=Path, metavar="FILE.json")
        rounds.add_argument("--plot", type=Path, metavar="FILE.png|.svg|.pdf")

    def run(self, arguments: argparse.Namespace) -> None:
        _check(arguments)
        paths = [arguments.archive, *arguments.engine]
        opened = {path: open_archive(path, overrides=arguments.overrides) for path in paths}
        for either in opened.values():
            for value in arguments.settings or []:
                check_swept(either.model.policy, value)
        first = opened[arguments.archive]
        rows = read_rows(first.reader, arguments.data, arguments.json_lines)
        chosen_on = (
            read_rows(first.reader, arguments.choose_on, arguments.json_lines)
            if arguments.choose_on
            else rows
        )
        points = {path: _points(opened[path], rows, chosen_on, arguments) for path in paths}
        step = max(1, len(rows) // arguments.rows)
        timed = [list(row.texts) for row in rows[::step][: arguments.rows]]
        weights = _weights(arguments, first)
        with tempfile.TemporaryDirectory() as folder:
            rivals, missing = _rivals(arguments, weights, chosen_on, Path(folder))
            own = _own(points)
            report: Dict[str, Any] = {
                "date": date.today().isoformat(),
                "machine": describe_machine(),
                "data": arguments.data,
                "choose_on": arguments.choose_on or arguments.data,
                "rows": len(timed),
                "rounds": arguments.rounds,
                "contenders": {c.name: _told(c, folder) for c in [*own, *rivals]},
                "missing": missing,
                "answers": {c.name: point for c, point in own.items()},
                "results": [],
                "profiles": {},
            }
            setting = Setting(timed, {}, arguments.batch_sizes, arguments.rounds)
            for threads in arguments.threads or sorted({1, usable_cores()}):
                results, profiles = time_contenders([*own, *rivals], threads, setting)
                report["results"] += results
                report["profiles"][threads] = profiles
            if arguments.first_answer:
                report["first_answer"] = _first_answers(paths, weights, timed[0], first, arguments)
        print_report(report)
        if arguments.output:
            write_json(report, arguments.output)
        if arguments.plot:
            plot(report, arguments.plot)


def _told(contender: Contender, exported: str) -> Dict[str, Any]:
    """The contender, in a report that outlives the folder `exported`."""
    told = contender.as_dict()
    if contender.path.startswith(exported):
        told["path"] = "(exported for this run)"
    return told


def _check(arguments: argparse.Namespace) -> None:
    Wish(max_accuracy_drop=arguments.max_accuracy_drop)
    if arguments.output:
        check_writable(arguments.output, [".json"])
    if arguments.plot:
        check_plot(arguments.plot, pages=False)


def _points(
    opened: Opened, rows: List[Row], chosen_on: List[Row], arguments: argparse.Namespace
) -> List[Point]:
    """What a model gives on the data at the thresholds to time."""
    model, reader = opened
    on_data = replay(opened, run_all_exits(model, reader, rows, arguments.batch_size))
    if arguments.settings:
        return on_data.curve(arguments.settings)
    chooser = (
        on_data
        if chosen_on is rows
        else replay(opened, run_all_exits(model, reader, chosen_on, arguments.batch_size))
    )
    curve = chooser.curve(chooser.grid())
    wish = Wish(max_accuracy_drop=arguments.max_accuracy_drop)
    found = choose(curve, [0.0] * len(curve), curve[-1], wish)
    assert found is not None and found.setting is not None, "the last exit loses nothing"
    return on_data.curve([found.setting, on_data.full])


def _short(path: str) -> str:
    name = Path(path.removesuffix("/model.tar.gz")).name
    return name if is_engine(path) else f"{name}, eager"


def _own(points: Dict[str, List[Point]]) -> Dict[Contender, Point]:
    contenders = {}
    for path, at in points.items():
        kind = "engine" if is_engine(path) else "archive"
        for point in at:
            name = f"{_short(path)} at {point.setting:.4g}"
            contenders[Contender(name, kind, path, point.setting)] = point
    return contenders


def _weights(arguments: argparse.Namespace, first: Opened) -> Optional[str]:
    """The archive with the weights of what is timed, if it can be found."""
    if arguments.weights or not is_engine(arguments.archive):
        return arguments.weights or arguments.archive
    model: Any = first.model
    source = model.engine.manifest.source
    if not Path(source["archive"]).exists():
        return None
    same = weights_sha256(source["archive"]) == source["weights_sha256"]
    return source["archive"] if same else None


def _rivals(
    arguments: argparse.Namespace, weights: Optional[str], rows: List[Row], folder: Path
) -> Tuple[List[Contender], Dict[str, str]]:
    """The rivals asked for, and why others of them are missing."""
    asked = [
        name
        for name in RIVALS
        if arguments.all_rivals or getattr(arguments, name.replace("-", "_"))
    ]
    missing = {}
    for name in asked:
        if weights is None:
            missing[name] = "the exported model's archive is gone or changed: give --weights"
        elif "eager" not in name and name != "cut":
            try:
                Format(*name.split("-")).require_libraries()
            except ConfigurationError as error:
                missing[name] = error.message
    present = [name for name in asked if name not in missing]
    if not present:
        return [], missing
    assert weights is not None
    opened = open_archive(weights)
    rivals = []
    for name in present:
        if name == "cut":
            rivals += [
                Contender(f"cut after layer {layer}", "transformers", weights, exit=position)
                for position, layer in enumerate(opened.model.exit_layers[:-1])
            ]
        elif name.startswith("eager"):
            dtype = "bfloat16" if name.endswith("bf16") else "float32"
            rivals.append(Contender(f"full, {name}", "transformers", weights, dtype=dtype))
        else:
            rivals.append(_exported_rival(name, weights, opened, rows, folder))
    return rivals, missing


def _exported_rival(
    name: str, weights: str, opened: Opened, rows: List[Row], folder: Path
) -> Contender:
    format = Format(*name.split("-"))
    target = folder / name
    target.mkdir()
    ranges = range_batches(opened, rows) if format.needs_calibration else None
    export(weights, opened, format, target, ranges, without_exits=True)
    return Contender(f"full, {name}", "engine", str(target))


def _first_answers(
    paths: List[str],
    weights: Optional[str],
    texts: List[str],
    first: Opened,
    arguments: argparse.Namespace,
) -> Dict[str, Any]:
    commands = {}
    for path in [*paths, *([weights] if weights and weights not in paths else [])]:
        module = "sledgehammer" if is_engine(path) else "allennlp"
        plugin = [] if is_engine(path) else ["--include-package", "sledgehammer"]
        commands[f"{module} predict {path}"] = [module, "predict", path, "-", *plugin]
    line = as_line(texts, first.reader.fields)
    timings = first_answers(commands, line, min(5, arguments.rounds))
    return {name: [t.median, *t.quartiles] for name, t in timings.items()}
