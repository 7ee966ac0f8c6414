"""The `sledgehammer` command: AllenNLP's own, with this plugin loaded, from any directory.

`sledgehammer predict` with an exported model needs no AllenNLP.
"""

import sys

from sledgehammer.engine import cli
from sledgehammer.support.missing_allennlp import require_allennlp


def main() -> None:
    if cli.takes(sys.argv[1:]):
        sys.exit(cli.main(sys.argv[2:]))
    try:
        require_allennlp()
    except ImportError as error:
        sys.exit(f"sledgehammer: error: {error}")
    from allennlp.commands import main as allennlp_main

    import sledgehammer.plugin  # noqa: F401

    allennlp_main(prog="sledgehammer")


if __name__ == "__main__":
    main()
