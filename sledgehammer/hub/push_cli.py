"""Run `sledgehammer push`: send a model to the Hugging Face hub."""

import sys
from pathlib import Path
from typing import Sequence

from sledgehammer.hub.pushing import push
from sledgehammer.support.hub import HubName
from sledgehammer.support.usage import UsageError, UsageParser, print_usage_error

PROG = "sledgehammer push"

DESCRIPTION = """\
Send MODEL, an archive or an exported model, to the Hugging Face hub, where sledgehammer.load("hub:NAME")
finds it. Weights of an archive go as safetensors; pickles, and files that are no part of a model, are
refused. The token is HF_TOKEN's, or that of huggingface-cli login.

The config, chosen.json and engine.json go with it: they name the paths of your data. seen.json holds
fingerprints of the rows that made the model, from which nobody can read a text, but which tell who has a
text whether it was among them."""

EXAMPLE = """\
example:
  sledgehammer push out/sst_int8 ann/reviews --private"""


def main(arguments: Sequence[str]) -> int:
    """Run `sledgehammer push ARGUMENTS`, and return the exit code."""
    try:
        parsed = parser().parse_args(list(arguments))
    except UsageError as error:
        return print_usage_error(PROG, error)
    try:
        name = HubName.parse(parsed.name)
        address = push(parsed.model, name, parsed.private, parsed.force)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"{PROG}: error: {reason}", file=sys.stderr)
        return 1
    except (ValueError, ImportError) as error:  # an EngineError or a HubError is a ValueError
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 1
    print(f"pushed to {address}: sledgehammer.load({str(name)!r})")
    return 0


def parser() -> UsageParser:
    """Return the parser of the command line."""
    made = UsageParser(PROG, DESCRIPTION, EXAMPLE)
    made.add_argument(
        "model", type=Path, metavar="MODEL", help="an archive, its folder, or an exported model"
    )
    made.add_argument("name", metavar="NAME", help="OWNER/NAME, or OWNER/NAME@BRANCH")
    made.add_argument("--private", action="store_true", help="a new repository is for you alone")
    made.add_argument(
        "--force", action="store_true", help="replace a card that was edited on the hub"
    )
    return made
