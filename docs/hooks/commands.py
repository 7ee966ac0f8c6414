"""Puts the help of every command into the page of commands, when the site is built.

It is taken from the parsers themselves, so that the page cannot go stale.
"""

import os
import re
from typing import Any, Dict

PAGE = "reference/commands.md"
ALLENNLP = ["train", "evaluate", "predict"]
WIDTH = "96"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace `<!-- help: NAME -->` by the help of `sledgehammer NAME`, and check that none is missing."""
    if page.file.src_uri != PAGE:
        return markdown
    helps = help_texts()
    named = re.findall(r"<!-- help: ([\w ]+) -->", markdown)
    if missing := set(helps) - set(named):
        raise ValueError(f"{PAGE} lacks the commands {sorted(missing)}")
    return re.sub(
        r"<!-- help: ([\w ]+) -->",
        lambda match: f"```text\n{helps[match[1]].rstrip()}\n```",
        markdown,
    )


def help_texts() -> Dict[str, str]:
    """Return the help of every command, as `sledgehammer COMMAND --help` prints it, by its name."""
    os.environ["COLUMNS"] = WIDTH
    from allennlp.commands import ArgumentParserWithDefaults
    from allennlp.commands.subcommand import Subcommand

    import sledgehammer.plugin  # noqa: F401
    from sledgehammer._scoring import cli as scoring
    from sledgehammer._serving import cli as serving
    from sledgehammer._serving import deploy
    from sledgehammer.commands.base import ArchiveCommand
    from sledgehammer.commands.fit import Fit
    from sledgehammer.engine import cli as engine
    from sledgehammer.hub import card_cli, push_cli
    from sledgehammer.monitoring import cli as monitoring

    subparsers = ArgumentParserWithDefaults(prog="sledgehammer").add_subparsers()
    texts = {
        "predict DIR": engine._parser().format_help(),
        "serve": serving._parser().format_help(),
        "deploy": deploy._parser().format_help(),
        "score": scoring._parser().format_help(),
        "monitor": monitoring._parser().format_help(),
        "card": card_cli.parser().format_help(),
        "push": push_cli.parser().format_help(),
    }
    for name in Subcommand.list_available():
        command = Subcommand.by_name(name)()
        if name in ALLENNLP or isinstance(command, (ArchiveCommand, Fit)):
            texts[name] = command.add_subparser(subparsers).format_help()
    return texts
