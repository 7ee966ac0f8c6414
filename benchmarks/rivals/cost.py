"""Measure what a text costs below the first layer: tokenising, features, weights.

    python -m benchmarks.rivals.cost sst imdb snli --data FOLDER

Single texts, one thread, in this process: CPU time, and of each text the fastest of some rounds, so
that what else the machine does counts as little as can be. The lexical exit is fitted to some of the training
rows: its cost does not depend on what it has learned.
"""

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from benchmarks import sections

RESULTS = sections.RESULTS / "rivals"
TEXTS = 400
ROUNDS = 9
TRAINING_ROWS = 2000
STEPS = ("tokenising", "features", "weights")


def parse(arguments: "List[str] | None" = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rivals.cost", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("datasets", nargs="+", help="of the study")
    parser.add_argument("--data", help="a folder with the datasets; the official downloads if none")
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse()
    import sledgehammer.plugin  # noqa: F401
    from benchmarks.rivals.rows import read_all
    from sledgehammer.benchmark.machine import describe_machine
    from sledgehammer.commands.base import write_json
    from sledgehammer.support.owned import scratch_folder

    RESULTS.mkdir(parents=True, exist_ok=True)
    found = []
    with scratch_folder() as folder:
        for dataset in arguments.datasets:
            rows = read_all(dataset, arguments.data, TRAINING_ROWS)
            texts = rows.parts["test"].texts
            step = max(1, len(texts) // TEXTS)
            tokenizer = engine_tokenizer(rows.reader, folder / f"{dataset}.json")
            times = step_times(tokenizer, rows.fit_lexical(), texts[::step][:TEXTS])
            found.append({"dataset": dataset, **figures(texts[::step][:TEXTS], times)})
            print(json.dumps(found[-1]))
            content = {
                "date": date.today().isoformat(), "machine": describe_machine(),
                "rounds": ROUNDS, "datasets": found,
            }  # fmt: skip
            write_json(content, RESULTS / "cost.json")


def engine_tokenizer(reader: Any, file: Path) -> Any:
    """Return the tokenizer of an exported model with a lexical exit."""
    from sledgehammer.engine.tokenizer import Tokenizer

    reader.save_tokenizer(file)
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    texts = len(reader.fields)
    more = {"whole": True, "long_texts": reader.long_texts}
    return Tokenizer(file, reader.max_length, inputs, reader.pad_token_id, texts, **more)


def step_times(tokenizer: Any, model: Any, texts: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the seconds of each step for each text: (steps, texts), the fastest of all rounds."""
    rounds = []
    for _ in range(ROUNDS):
        times: List[List[float]] = [[], [], []]
        for row in texts:
            text = row[0] if len(row) == 1 else tuple(row)
            (encoded,) = timed(times[0], tokenizer.encode, [text])
            features = timed(times[1], model.space.features, [encoded.texts])
            timed(times[2], model.of_features, features, 1)
        rounds.append(times)
    return np.min(rounds, axis=0)


def timed(times: List[float], run: Callable[..., Any], *arguments: Any) -> Any:
    began = time.process_time()
    result = run(*arguments)
    times.append(time.process_time() - began)
    return result


def figures(texts: Sequence[Sequence[str]], times: np.ndarray) -> Dict[str, Any]:
    """Return milliseconds: those of each step, mean, and of all steps, mean and percentiles."""
    total = 1000 * times.sum(axis=0)
    p50, p95, p99 = np.percentile(total, [50, 95, 99]).tolist()
    return {
        "texts": len(texts),
        "mean_words": float(np.mean([len(" ".join(row).split()) for row in texts])),
        **{step: float(1000 * seconds.mean()) for step, seconds in zip(STEPS, times)},
        "mean": float(total.mean()), "p50": p50, "p95": p95, "p99": p99,
    }  # fmt: skip


if __name__ == "__main__":
    main()
