"""The `sledgehammer` command: AllenNLP's own, with this plugin loaded, from any directory."""

from sledgehammer.requirements import require_allennlp


def main() -> None:
    require_allennlp()
    from allennlp.commands import main as allennlp_main

    import sledgehammer.plugin  # noqa: F401

    allennlp_main(prog="sledgehammer")


if __name__ == "__main__":
    main()
