"""Run `sledgehammer fit`: from a table to an exported model with a guaranteed threshold."""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any, Dict

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError

from sledgehammer.commands.errors import one_line_errors
from sledgehammer.commands.fit_plan import FitOptions, make_plan
from sledgehammer.commands.fit_report import print_plan, report_fit
from sledgehammer.commands.fit_run import check_output, run_fit
from sledgehammer.support.arguments import positive_float, positive_int
from sledgehammer.support.console import print_anything, program


@Subcommand.register("fit")
class Fit(Subcommand):
    """Train a model on a table of your own, choose its threshold with a guarantee, and export it.

    The rows are divided by their texts: most train the network, some fit the temperatures, some
    choose the threshold, and the figures are those of the rest. The folder gets the config that
    ran, the archive, the exported model (int8), the commands that made them and a page with the
    curve.
    """

    def add_subparser(
        self, parser: "argparse._SubParsersAction[argparse.ArgumentParser]"
    ) -> argparse.ArgumentParser:
        description = " ".join((self.__doc__ or "").split("\n\n")[0].split())
        subparser = parser.add_parser(
            self.name, help=description, description=description,
            epilog="example:\n  "
            f"{program()} fit reviews.csv --text text --label label -o out/reviews --minutes 10",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        add = subparser.add_argument
        add("data", help=".csv, .tsv, .jsonl or .parquet with named columns; or a dataset's name")
        add("--text", action="append", metavar="COLUMN", help="several are joined (default: text)")
        add("--second-text", metavar="COLUMN", help="of pairs")
        add("--label", default="label", metavar="COLUMN")
        add("--group", metavar="COLUMN", help="rows with the same value stay on one side")
        add("--time", metavar="COLUMN", help="the latest rows are held out")
        add("-o", "--output", type=Path, required=True, metavar="FOLDER")
        add("--backbone", metavar="NAME", help="hub name, local folder or package:NAME/PATH")
        add("--objective", metavar="NAME", help="how the exits learn (default: joint)")
        add("--class-weights", metavar="JSON", help='auto, or a map: {"rare": 5}')
        add(
            "--minutes", type=positive_float, metavar="N", help="of training; fewer rows if need be"
        )
        add("--epochs", type=positive_int, metavar="N")
        add("--max-accuracy-drop", type=float, default=0.01, metavar="E",
            help="what the chosen threshold may cost (default: 0.01)")  # fmt: skip
        add("--delta", type=float, default=0.1, metavar="D",
            help="the probability that it costs more (default: 0.1)")  # fmt: skip
        add("--force", action="store_true", help="replace FOLDER, if fit wrote it")
        subparser.set_defaults(func=self._run_guarded)
        return subparser

    def _run_guarded(self, arguments: argparse.Namespace) -> None:
        logging.getLogger().setLevel(logging.WARNING)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with one_line_errors(f"{program()} {self.name}"):
            self.run(arguments)

    def run(self, arguments: argparse.Namespace) -> None:
        check_output(arguments.output, arguments.force)
        options = _options(arguments)
        plan = make_plan(options)
        print_anything()
        print_plan(options, plan)
        run_fit(options, plan)
        report_fit(options, plan)


def _options(arguments: argparse.Namespace) -> FitOptions:
    columns: Dict[str, Any] = {
        name: value
        for name in ("second_text", "group", "time")
        if (value := getattr(arguments, name)) is not None
    }
    return FitOptions(
        arguments.data, arguments.text or ["text"], arguments.label, arguments.output, columns,
        arguments.backbone, arguments.objective, arguments.minutes, arguments.max_accuracy_drop,
        arguments.delta, arguments.epochs, _class_weights(arguments.class_weights),
    )  # fmt: skip


def _class_weights(argument: Any) -> Any:
    if argument is None or argument == "auto":
        return argument
    try:
        return json.loads(argument)
    except ValueError as error:
        raise ConfigurationError(f"--class-weights is neither auto nor JSON: {error}") from error
