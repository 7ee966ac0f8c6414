"""Run `allennlp card`: write a model's card anew."""

import argparse

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError

from sledgehammer.commands.errors import one_line_errors
from sledgehammer.hub import card_cli
from sledgehammer.support.console import program


@Subcommand.register("card")
class Card(Subcommand):
    """See `hub.card_cli`."""

    def add_subparser(
        self, parser: "argparse._SubParsersAction[argparse.ArgumentParser]"
    ) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name, help="Write a model's card anew.", description=card_cli.DESCRIPTION,
            epilog=card_cli.EXAMPLE.replace("sledgehammer", program()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        card_cli.add_arguments(subparser)
        subparser.set_defaults(func=self._run_guarded)
        return subparser

    def _run_guarded(self, arguments: argparse.Namespace) -> None:
        with one_line_errors(f"{program()} {self.name}"):
            try:
                card_cli.run(arguments)
            except ValueError as error:
                raise ConfigurationError(str(error)) from error
