"""Run the `sledgehammer` command: AllenNLP's own, with this plugin loaded, from any directory.

`sledgehammer predict` with an exported model needs no AllenNLP, nor do `serve`, `deploy`, `score`, `monitor`.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import List

from sledgehammer import __version__
from sledgehammer.support.console import NOISY, VERBOSE, silence_libraries
from sledgehammer.support.missing_allennlp import require_allennlp
from sledgehammer.support.signals import ending_on_signals


def main() -> None:
    """Run `sledgehammer COMMAND ARGUMENTS`."""
    with ending_on_signals():
        _run([argument for argument in sys.argv[1:] if argument != VERBOSE])


def _run(arguments: List[str]) -> None:
    # Imported here, within the block of `main`: a signal that comes meanwhile ends the process too.
    from sledgehammer.engine import cli

    if arguments[:1] == ["--version"]:
        print(versions())
        return
    if cli.takes(arguments):
        sys.exit(cli.main(arguments[1:]))
    if arguments[:1] == ["serve"]:
        from sledgehammer._serving import cli as serving

        sys.exit(serving.main(arguments[1:]))
    if arguments[:1] == ["deploy"]:
        from sledgehammer._serving import deploy

        sys.exit(deploy.main(arguments[1:]))
    if arguments[:1] == ["score"]:
        from sledgehammer._scoring import cli as scoring

        sys.exit(scoring.main(arguments[1:]))
    if arguments[:1] == ["monitor"]:
        from sledgehammer.monitoring import cli as monitoring

        sys.exit(monitoring.main(arguments[1:]))
    if arguments[:1] == ["card"]:
        from sledgehammer.hub import card_cli

        sys.exit(card_cli.main(arguments[1:]))
    if arguments[:1] == ["push"]:
        from sledgehammer.hub import push_cli

        sys.exit(push_cli.main(arguments[1:]))
    if arguments[:1] == ["predict"]:
        arguments = ["predict", *cli.for_archives(arguments[1:])]
    if VERBOSE not in sys.argv and arguments[:1] and arguments[0] not in NOISY:
        silence_libraries()
    sys.argv[1:] = arguments
    try:
        require_allennlp()
    except ImportError as error:
        sys.exit(f"sledgehammer: error: {error}")
    from allennlp.commands import main as allennlp_main

    import sledgehammer.plugin  # noqa: F401

    allennlp_main(prog="sledgehammer")


def versions() -> str:
    """Return our version and AllenNLP's."""
    try:
        allennlp = f"AllenNLP {version('allennlp')}"
    except PackageNotFoundError:
        allennlp = "AllenNLP is not installed"
    return f"sledgehammer {__version__} ({allennlp})"


if __name__ == "__main__":
    main()
