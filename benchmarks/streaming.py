"""Measure whether texts that go on after an exit should wait for others, or go on by themselves.

Compares `Engine.stream` with and without pools, in turns, in one run:

    python -m benchmarks.streaming out/sst_int8 data/sst/dev.txt
"""

import argparse
from typing import Any, Callable, Dict, List, Sequence, Tuple

Variant = Tuple[int, float, bool]
"""Batch size, threshold, and whether texts wait for others in pools."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="an exported model; or an archive, whose model runs eagerly")
    parser.add_argument("data", help="in the format of the archive's reader; labels are not needed")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.7, 0.85, 0.95])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    import sledgehammer.plugin  # noqa: F401
    from sledgehammer import engine
    from sledgehammer.commands.base import print_table
    from sledgehammer.dataset_readers.json_lines import read_rows
    from sledgehammer.engine.manifest import is_engine
    from sledgehammer.engine.runtimes import usable_cores
    from sledgehammer.export.eager import eager_engine
    from sledgehammer.model.archives import open_archive

    opened = open_archive(arguments.model)
    rows = read_rows(opened.reader, arguments.data, labelled=False)
    texts = [row.texts[0] if len(row.texts) == 1 else row.texts for row in rows]
    exported = is_engine(arguments.model)
    classifier = engine.load(arguments.model) if exported else eager_engine(opened)
    manifest = classifier.manifest
    print(
        f"\n{len(texts)} texts, {manifest.runtime} {manifest.precision}, {usable_cores()} threads; "
        f"medians (and quartiles) of {arguments.rounds} rounds in turns\n"
    )
    print_table(compare(classifier, texts, arguments))


def compare(
    classifier: Any, texts: Sequence[Any], arguments: argparse.Namespace
) -> List[Dict[str, str]]:
    """Return a row of the table for each batch size and threshold."""
    from sledgehammer.benchmark.timing import alternate

    table = []
    for size in arguments.batch_sizes:
        for threshold in arguments.thresholds:
            runs = {
                pool: runner(classifier, texts, (size, threshold, pool)) for pool in (False, True)
            }
            answers = {pool: run() for pool, run in runs.items()}
            times = alternate(runs, arguments.rounds)
            ratio = times[True].ratio(times[False])
            low, high = ratio.quartiles
            table.append(
                {
                    "batch size": str(size),
                    "threshold": str(threshold),
                    "mean layers": f"{sum(a['layers_run'] for a in answers[True]) / len(texts):.2f}",
                    "texts/s, plain": f"{len(texts) / times[False].median:.0f}",
                    "texts/s, pools": f"{len(texts) / times[True].median:.0f}",
                    "pools are faster by": f"{ratio.median:.3f}x ({low:.3f} to {high:.3f})",
                    "other exits": str(differing(answers[False], answers[True])),
                }
            )
    return table


def runner(
    classifier: Any, texts: Sequence[Any], variant: Variant
) -> Callable[[], List[Dict[str, Any]]]:
    """Return a function that answers all texts in a stream."""
    size, threshold, pool = variant
    return lambda: list(classifier.stream(iter(texts), threshold, batch_size=size, pool=pool))


def differing(plain: Sequence[Dict[str, Any]], pooled: Sequence[Dict[str, Any]]) -> int:
    """Count the rows that another exit answers: int8-dynamic has a scale for each batch."""
    return sum(a["exit_layer"] != b["exit_layer"] for a, b in zip(plain, pooled))


if __name__ == "__main__":
    main()
