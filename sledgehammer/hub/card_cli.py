"""Run `sledgehammer card`: write a model's card anew. For an exported model without AllenNLP."""

import argparse
import sys
from pathlib import Path
from typing import Sequence

from sledgehammer.cards.file import renew
from sledgehammer.cards.metadata import CardError, Declared
from sledgehammer.cards.of_engine import facts_of_engine
from sledgehammer.engine.manifest import CARD, is_engine, read
from sledgehammer.support.missing_allennlp import require_allennlp
from sledgehammer.support.usage import UsageError, UsageParser, print_usage_error

PROG = "sledgehammer card"

DESCRIPTION = """\
Write the model card of MODEL, an archive or an exported model, from what is known of it: README.md
within the archive or the directory, in the format of the Hugging Face hub. What is not known is left
out, or said to be unknown. What an earlier card declares is kept. A card that somebody has edited is
left alone without --force."""

EXAMPLE = """\
example:
  sledgehammer card out/sst_int8 --language en --license apache-2.0"""


def main(arguments: Sequence[str]) -> int:
    """Run `sledgehammer card ARGUMENTS`, and return the exit code."""
    try:
        parsed = parser().parse_args(list(arguments))
    except UsageError as error:
        return print_usage_error(PROG, error)
    try:
        return run(parsed)
    except OSError as error:
        print(f"{PROG}: error: {error.filename}: {error.strerror}", file=sys.stderr)
    except (ValueError, ImportError) as error:  # an EngineError or a CardError is a ValueError
        print(f"{PROG}: error: {error}", file=sys.stderr)
    return 1


def parser() -> UsageParser:
    """Return the parser of the command line."""
    made = UsageParser(PROG, DESCRIPTION, EXAMPLE)
    add_arguments(made)
    return made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="an archive, its folder, or an exported model"
    )
    parser.add_argument(
        "--language", action="append", default=[], metavar="CODE", help="such as en (repeatable)"
    )
    parser.add_argument("--license", metavar="NAME", help="as the hub calls it: apache-2.0")
    parser.add_argument(
        "--dataset", action="append", default=[], metavar="NAME",
        help="a dataset of the hub that it was trained on (repeatable)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace a card that was edited")


def run(parsed: argparse.Namespace) -> int:
    """Write the card that a command line asks for.

    # Raises

    `ValueError`, with one line, if it can't be written.
    """
    declared = Declared(parsed.language, parsed.license, parsed.dataset)
    if is_engine(parsed.model):
        facts = facts_of_engine(parsed.model, read(parsed.model))
        written = renew(parsed.model, facts, declared, parsed.force)
    else:
        written = _renew_in_archive(parsed.model, declared, parsed.force)
    if not written:
        raise CardError(f"the {CARD} of {parsed.model} was edited: --force replaces it")
    print(f"model card: {CARD} of {parsed.model}")
    return 0


def _renew_in_archive(model: Path, declared: Declared, force: bool) -> bool:
    require_allennlp()
    from allennlp.common.checks import ConfigurationError

    from sledgehammer.model.archive_renewal import renew_in_archive

    try:
        return renew_in_archive(str(model), declared, force)
    except ConfigurationError as error:
        raise CardError(error.message) from error
