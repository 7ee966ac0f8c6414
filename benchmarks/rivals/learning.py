"""Show what the lexical exit, and rivals without a transformer, gain from more training rows.

    python -m benchmarks.rivals.learning imdb --data FOLDER

Each is fitted to the first rows of a dataset of the study, whose validation rows choose the lexical
exit's regularisation, and tested on all test rows.
"""

import argparse
import json
import time
from datetime import date
from typing import Any, Dict, List, Sequence

import numpy as np

from benchmarks import sections

ROWS = (1500, 5000, 12500, 25000)
RESULTS = sections.RESULTS / "rivals"
RIVALS = ("TF-IDF of words", "static embeddings")


def parse(arguments: "List[str] | None" = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rivals.learning", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("dataset", help="imdb, or another of the study with one text a row")
    parser.add_argument("--data", help="a folder with the datasets; the official downloads if none")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--rivals", nargs="*", default=RIVALS)
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse()
    import sledgehammer.plugin  # noqa: F401
    from benchmarks.rivals.rows import read_all
    from sledgehammer.benchmark.machine import describe_machine
    from sledgehammer.commands.base import print_table, write_json

    rows = read_all(arguments.dataset, arguments.data)
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"learning-{arguments.dataset}.json"
    points = json.loads(target.read_text())["points"] if target.is_file() else []
    done = {point["rows"] for point in points}
    for count in sizes(len(rows.parts["train"].label), arguments.rows):
        if count not in done:
            points.append({"rows": count, **fitted(rows, count, arguments.rivals)})
        print_table([{k: f"{v:.4g}" for k, v in point.items()} for point in points])
        content = {
            "dataset": arguments.dataset, "date": date.today().isoformat(),
            "machine": describe_machine(),
            "validation_rows": len(rows.parts["validation"].label),
            "test_rows": len(rows.parts["test"].label),
            "points": sorted(points, key=lambda point: point["rows"]),
        }  # fmt: skip
        write_json(content, target)
    print(target)


def sizes(available: int, wanted: Sequence[int]) -> List[int]:
    """Return the numbers of rows to fit to; one beyond what there is means all of it."""
    return sorted({min(count, available) for count in wanted})


def fitted(rows: Any, count: int, rivals: Sequence[str]) -> Dict[str, Any]:
    """Return the accuracy of each model fitted to so many rows, and the seconds that it took."""
    from sledgehammer.benchmark.word_fitting import fit_words

    train, test = rows.parts["train"].first(count), rows.parts["test"]
    results: Dict[str, Any] = {}
    began = time.process_time()
    model = rows.fit_lexical(count)
    results["lexical exit: seconds"] = round(time.process_time() - began, 1)
    answers = model.logits(test.pieces).argmax(axis=1)
    results["lexical exit"] = float((answers == test.label).mean())
    for rival in rivals:
        began = time.process_time()
        classifier = fit_words(rival, train.texts, train.label, len(rows.labels))
        results[f"{rival}: seconds"] = round(time.process_time() - began, 1)
        answers = np.concatenate(
            [
                classifier.logits(test.texts[i : i + 1000]).argmax(axis=1)
                for i in range(0, len(test.texts), 1000)
            ]
        )
        results[rival] = float((answers == test.label).mean())
    return results


if __name__ == "__main__":
    main()
