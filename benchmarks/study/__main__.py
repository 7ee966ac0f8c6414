"""python -m benchmarks.study DATASET [--data FOLDER] [--out FOLDER]"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("dataset", choices=["sst", "ag_news", "imdb", "snli", "multinli"])
    parser.add_argument("--data", help="a folder with the datasets; the official downloads if none")
    parser.add_argument("--out", type=Path, default=Path("out/study"), help="trained archives")
    arguments = parser.parse_args()

    import sledgehammer.plugin  # noqa: F401
    from benchmarks.study.plan import DATASETS, runs
    from benchmarks.study.training import train_all

    dataset = DATASETS[arguments.dataset]
    train_all(runs(dataset), arguments.data, arguments.out)


if __name__ == "__main__":
    main()
