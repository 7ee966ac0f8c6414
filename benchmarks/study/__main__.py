"""Train, measure and report one dataset of the study; what is finished is not done again."""

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
    from benchmarks.study import report
    from benchmarks.study.measuring import earlier_results, measure_all, write_results
    from benchmarks.study.plan import DATASETS, runs
    from benchmarks.study.training import train_all

    dataset = DATASETS[arguments.dataset]
    train_all(runs(dataset), arguments.data, arguments.out)
    earlier = earlier_results(dataset, report.RESULTS)
    results = measure_all(dataset, arguments.data, arguments.out, earlier)
    print(write_results(results, report.RESULTS))
    report.write()


if __name__ == "__main__":
    main()
