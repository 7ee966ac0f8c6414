"""Types of command-line arguments; free of AllenNLP and torch."""

import argparse


def positive_int(text: str) -> int:
    """`text` as a whole number of at least 1; for the `type` of an argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value
