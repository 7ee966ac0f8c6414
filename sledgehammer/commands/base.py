"""Share among our subcommands: reading an archive and data, printing tables, one-line errors."""

import argparse
import dataclasses
import json
import logging
import math
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError
from tabulate import tabulate

from sledgehammer.analysis.all_exits import ExitOutputs, run_all_exits
from sledgehammer.commands.errors import one_line_errors
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.dataset_readers.json_lines import DATA_FORMATS, JSON_LINES, read_rows
from sledgehammer.model.archives import Opened, check_exported_from, open_archive
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.policy_config import configuration_errors, make_policy
from sledgehammer.policies import ExitPolicy
from sledgehammer.support.arguments import positive_int
from sledgehammer.support.console import program
from sledgehammer.support.files import replacing


class ArchiveCommand(Subcommand):
    """Run a subcommand on an archive and some data.

    The first paragraph of a subclass's docstring is its help; its `example` follows the options.
    """

    example = ""
    archive_help = "a trained archive (model.tar.gz), or its folder; or an exported model"
    second = ("data", "labelled data, as the archive's reader takes it")
    """Name and help of the second positional argument."""

    def add_subparser(
        self, parser: "argparse._SubParsersAction[argparse.ArgumentParser]"
    ) -> argparse.ArgumentParser:
        description = " ".join((self.__doc__ or "").split("\n\n")[0].split())
        subparser = parser.add_parser(
            self.name,
            help=description,
            description=description,
            epilog=f"example:\n  {self.example.replace('allennlp', program())}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument("archive", help=self.archive_help)
        subparser.add_argument(self.second[0], help=self.second[1])
        self.add_arguments(subparser)
        common = subparser.add_argument_group("how the data are read and run")
        common.add_argument(
            "--data-format", choices=DATA_FORMATS, metavar="FORMAT",
            help=f"of DATA, if it is not what the archive was trained on: {', '.join(DATA_FORMATS)}; "
            "archives trained on a table go by the ending of the file",
        )  # fmt: skip
        common.add_argument(
            "--json-lines", action="store_const", const=JSON_LINES, dest="data_format",
            help='DATA has lines as for predict: {"text": ..., "label": ...}',
        )  # fmt: skip
        common.add_argument("--batch-size", type=positive_int, default=64, metavar="N")
        common.add_argument("--cuda-device", type=int, default=-1, metavar="GPU", help="-1: CPU")
        common.add_argument(
            "--overrides", default="", metavar="JSON", help="changes to the archive's config"
        )
        subparser.set_defaults(func=self._run_guarded)
        return subparser

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        raise NotImplementedError

    @staticmethod
    def add_new_archive(subparser: argparse.ArgumentParser) -> None:
        """Add the arguments of a command whose result is a new archive."""
        subparser.add_argument(
            "-o",
            "--output",
            type=Path,
            required=True,
            metavar="NEW_ARCHIVE",
            help="the archive to write",
        )
        subparser.add_argument("--force", action="store_true", help="overwrite NEW_ARCHIVE")

    def run(self, arguments: argparse.Namespace) -> None:
        """Run the command.

        # Raises

        `ConfigurationError`, before anything is written, for an error that the user can fix.
        """
        raise NotImplementedError

    def _run_guarded(self, arguments: argparse.Namespace) -> None:
        logging.getLogger().setLevel(logging.WARNING)
        # Tokenisers complain at every fork once they have used threads.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with one_line_errors(f"{program()} {self.name}"):
            self.run(arguments)


def open_and_run(
    arguments: argparse.Namespace,
    labelled: bool = True,
    dtype: Optional[str] = None,
    engine: Optional[str] = None,
    check: Callable[[ExitClassifier], None] = lambda model: None,
    select: Callable[[Opened, List[Row]], List[Row]] = lambda opened, rows: rows,
) -> "tuple[Opened, List[Row], ExitOutputs]":
    """Load the archive, read the data, and run all exits on them.

    # Parameters

    labelled : `bool`, optional (default = `True`)
        Whether every row must have a label.
    dtype : `str`, optional
        The number format to run in.
    engine : `str`, optional
        A model exported from the archive, to run in its place.
    check : `Callable[[ExitClassifier], None]`, optional
        Called with the model before anything runs; raises what is wrong with it.
    select : `Callable[[Opened, List[Row]], List[Row]]`, optional
        Returns which of the rows to run.
    """
    if engine is not None:
        check_exported_from(engine, arguments.archive)
    path = engine or arguments.archive
    opened = open_archive(path, arguments.cuda_device, arguments.overrides)
    if dtype is not None:
        opened.model.use_number_format(dtype)
    check(opened.model)
    rows = rows_at(arguments.data, arguments, opened.reader, labelled)
    rows = select(opened, rows)
    return opened, rows, run_all_exits(opened.model, opened.reader, rows, arguments.batch_size)


def rows_at(
    path: str, arguments: argparse.Namespace, reader: TransformerReader, labelled: bool = True
) -> List[Row]:
    """Return the rows of a data file that a command line names, in the format that it says."""
    return read_rows(reader, path, labelled=labelled, data_format=arguments.data_format)


def parse_policy(argument: str) -> ExitPolicy:
    """Return the policy that a JSON config on the command line describes.

    # Raises

    `ConfigurationError` if it describes none.
    """
    try:
        config = json.loads(argument)
    except ValueError as error:
        raise ConfigurationError(f"--policy is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigurationError(
            f'--policy must be an object such as {{"type": ...}}, got {argument}'
        )
    return make_policy(config)


def check_swept(policy: ExitPolicy, value: float) -> None:
    """Raise a `ConfigurationError` unless `value` is valid for the setting that a policy sweeps."""
    with configuration_errors():
        policy.settings_for({policy.sweeps: value})


def use_setting(value: Optional[float], model: ExitClassifier) -> None:
    """Change the policy's setting if there is a value, and check that the policy can run."""
    with configuration_errors():
        if value is not None:
            model.policy.change({model.policy.sweeps: value})
        if unready := model.policy.unready():
            raise ValueError(unready)


def print_table(rows: Sequence[Dict[str, Any]]) -> None:
    """Print a Markdown table; all rows must have the keys of the first."""
    print(
        tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, stralign="right")
    )


def write_json(content: Any, target: Path) -> None:
    """Write `content` as JSON; the file appears only once it is complete."""
    with replacing(target) as partial:
        partial.write_text(json.dumps(as_json(content), indent=2) + "\n", encoding="utf-8")


def as_json(content: Any) -> Any:
    """Return `content` as JSON can hold it: dataclasses and named tuples become dictionaries, and
    all keys strings."""
    if hasattr(content, "figures"):
        return as_json(content.figures())
    if hasattr(content, "_asdict"):
        return as_json(content._asdict())
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return {f.name: as_json(getattr(content, f.name)) for f in dataclasses.fields(content)}
    if isinstance(content, dict):
        return {str(key): as_json(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [as_json(item) for item in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None  # JSON has neither infinity nor not-a-number
    return content


def run_command(command: ArchiveCommand, arguments: Sequence[str]) -> None:
    """Run a command in this process; errors are raised, not printed."""
    parser = argparse.ArgumentParser(prog="sledgehammer")
    command.add_subparser(parser.add_subparsers())
    command.run(parser.parse_args([command.name, *arguments]))
