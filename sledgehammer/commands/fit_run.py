"""Do what `sledgehammer fit` does: train, and run our commands one after the other."""

import json
import logging
import shutil
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Dict, Iterator, List, TextIO, Type

from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError

from sledgehammer.commands import training_patches  # noqa: F401  the archive gets checksums
from sledgehammer.commands.base import ArchiveCommand, run_command
from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.fit_plan import FitOptions, FitPlan, command_line
from sledgehammer.commands.lexical import Lexical
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.model.archive_files import archive_file
from sledgehammer.support.files import no_folder_for
from sledgehammer.support.owned import scratch_folder

COMMANDS: Dict[str, Type[ArchiveCommand]] = {
    "lexical": Lexical,
    "export": ExportCommand,
    "tradeoff": TradeoffCommand,
}

CONFIG, ARCHIVE, ENGINE, LOG, SCRIPT = (
    "config.json", "model.tar.gz", "engine", "fit.log", "commands.sh",
)  # fmt: skip
"""What is in the folder that is written."""


def check_output(output: Path, force: bool) -> None:
    """Raise a `ConfigurationError` unless a model may be written to a folder."""
    if output.exists() and not force:
        raise ConfigurationError(f"{str(output)!r} exists: give another name, or --force")
    if output.exists() and not (output.is_dir() and (output / CONFIG).is_file()):
        raise ConfigurationError(
            f"{str(output)!r} is not a folder that fit wrote, so --force does not replace it"
        )
    parent = output.absolute().parent
    if not parent.exists():
        return  # it is made
    if problem := no_folder_for(output):
        raise ConfigurationError(problem)


def run_fit(options: FitOptions, plan: FitPlan) -> None:
    """Train a model as planned, and write it into the folder of the options.

    Afterwards there are the config, the archive, the exported model with the chosen threshold, the
    commands that made them, and what those printed. If anything fails, the folder is removed.
    """
    with _written_or_removed(options.output) as folder, scratch_folder() as scratch:
        (folder / CONFIG).write_text(json.dumps(plan.config, indent=2) + "\n", encoding="utf-8")
        with open(folder / LOG, "w", encoding="utf-8") as log:
            for command in _commands(options, folder, scratch):
                _run(command, log)
        lines = [command_line(command) for command in _commands(options, folder, Path("out/fit"))]
        script = "#!/bin/sh\n# What made this folder.\nset -e\nmkdir -p out/fit\n"
        (folder / SCRIPT).write_text(script + "\n".join(lines) + "\n", encoding="utf-8")


def _commands(options: FitOptions, folder: Path, scratch: Path) -> "List[tuple[str, ...]]":
    data, trained, lexical = options.data, scratch / "run", str(scratch / "lexical.tar.gz")
    engine = str(scratch / "engine")
    wish = (
        "--max-accuracy-drop", str(options.max_accuracy_drop), "--delta", str(options.delta),
        "--seen-rows", "skip",
    )  # fmt: skip
    return [
        ("train", str(folder / CONFIG), "-s", str(trained)),
        (
            "lexical", str(trained / ARCHIVE), f"{data}#train", "--validation",
            f"{data}#validation", "--few-rows", "-o", lexical,
        ),
        ("export", lexical, engine, "--precision", "int8"),
        (
            "tradeoff", lexical, f"{data}#calibration", *wish, "--engine", engine,
            "--output", str(folder / "tradeoff.json"), "--write", str(folder / ENGINE),
        ),
        ("tradeoff", lexical, f"{data}#calibration", *wish, "--write", str(folder / ARCHIVE)),
    ]  # fmt: skip


def _run(command: "tuple[str, ...]", log: TextIO) -> None:
    """Run one command in this process; what it prints goes to the log."""
    print(f"$ {command_line(command)}", file=log, flush=True)
    name, *arguments = command
    with redirect_stdout(log):
        if name == "train":
            with _logging_restored():
                train_model(Params.from_file(arguments[0]), arguments[2])
            return
        run_command(COMMANDS[name](), arguments)


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Take away the handlers that AllenNLP's trainer adds: they write to what is standard output
    then."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _written_or_removed(output: Path) -> Iterator[Path]:
    """Make a folder; if anything fails, it is removed, and an older one is there again."""
    replaced = output.with_name(f".{output.name}.replaced")
    new_folders = [path for path in output.parents if not path.exists()]
    if output.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        output.rename(replaced)
    output.mkdir(parents=True)
    try:
        yield output
        archive_file(str(output / ARCHIVE))  # raises if it is not there
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        if replaced.exists():
            replaced.rename(output)
        with suppress(OSError):
            for folder in new_folders:
                folder.rmdir()
        raise
    shutil.rmtree(replaced, ignore_errors=True)
