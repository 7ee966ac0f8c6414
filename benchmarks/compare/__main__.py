"""Train, measure and report every objective with every policy; what is finished is not done again."""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("dataset", choices=["sst", "ag_news"])
    parser.add_argument("--data", help="a folder with the datasets; the official downloads if none")
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="trained archives")
    arguments = parser.parse_args()

    import sledgehammer.plugin  # noqa: F401
    from benchmarks.compare import report
    from benchmarks.compare.compressors import measure_compressors
    from benchmarks.compare.measuring import measure_all
    from benchmarks.compare.plan import DATASETS, runs
    from benchmarks.study.measuring import write_results
    from benchmarks.study.training import train_all

    dataset = DATASETS[arguments.dataset]
    train_all(runs(dataset, arguments.out), arguments.data, arguments.out)
    results = measure_all(dataset, arguments.data, arguments.out)
    results["compressors"] = measure_compressors(dataset, arguments.data, arguments.out)
    print(write_results(results, report.RESULTS))
    report.write()


if __name__ == "__main__":
    main()
