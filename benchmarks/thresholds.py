"""Evaluates one archive at several thresholds and prints a Markdown table.

    python benchmarks/thresholds.py ARCHIVE DATA [--thresholds 0.6 0.8 0.9 0.95 1.0]

Each row is what `allennlp evaluate ARCHIVE DATA -o '{"model.policy.threshold": T}'` reports.
A second table shows what the archive's training run reported for each exit, if its
`metrics.json` lies beside it.
"""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any, Dict, Iterable, List

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

DEFAULT_THRESHOLDS = [0.6, 0.8, 0.9, 0.95, 1.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archive", help="a model.tar.gz")
    parser.add_argument("data", help="what the archive's dataset reader reads")
    parser.add_argument("--thresholds", type=float, nargs="+", default=DEFAULT_THRESHOLDS)
    arguments = parser.parse_args()
    rows = evaluate(arguments.archive, arguments.data, arguments.thresholds)
    print_table(rows)
    metrics = Path(arguments.archive).parent / "metrics.json"
    if metrics.is_file():
        print()
        print_table(per_exit(json.loads(metrics.read_text())))


def evaluate(archive: str, data: str, thresholds: Iterable[float]) -> List[Dict[str, str]]:
    from allennlp.data import DataLoader
    from allennlp.evaluation import SimpleEvaluator
    from allennlp.models import load_archive

    import sledgehammer.plugin  # noqa: F401
    from sledgehammer.policies import checked_threshold

    logging.disable(logging.WARNING)
    loaded = load_archive(archive)
    loader = DataLoader.from_params(
        loaded.config["validation_data_loader"],
        reader=loaded.validation_dataset_reader,
        data_path=data,
    )
    loader.index_with(loaded.model.vocab)
    evaluator = SimpleEvaluator()
    rows = []
    for threshold in thresholds:
        loaded.model.policy.threshold = checked_threshold(threshold)
        metrics = evaluator(loaded.model, loader)
        shares = {
            name.rsplit("_", 1)[1]: f"{share:.0%}"
            for name, share in metrics.items()
            if name.startswith("share_at_exit_")
        }
        rows.append(
            {
                "threshold": f"{threshold:g}",
                "accuracy": f"{metrics['accuracy']:.1%}",
                "mean layers run": f"{metrics['mean_exit_layer'] + 1:.2f}",
                "layer speedup": f"{metrics['layer_speedup']:.2f}x",
                "calibration error": f"{metrics['calibration_error']:.3f}",
                **{f"exit at layer {layer}": share for layer, share in shares.items()},
            }
        )
    return rows


def per_exit(metrics: Dict[str, Any]) -> List[Dict[str, str]]:
    prefix, suffix = "best_validation_exit_", "_temperature"
    layers = [
        name[len(prefix) : -len(suffix)]
        for name in metrics
        if name.startswith(prefix) and name.endswith(suffix)
    ]
    return [
        {
            "exit after layer": layer,
            "accuracy": f"{metrics[f'{prefix}{layer}_accuracy']:.1%}",
            "temperature": f"{metrics[f'{prefix}{layer}_temperature']:.2f}",
            "calibration error before": f"{metrics[f'{prefix}{layer}_ece_before']:.3f}",
            "after": f"{metrics[f'{prefix}{layer}_ece_after']:.3f}",
        }
        for layer in layers
    ]


def print_table(rows: List[Dict[str, str]]) -> None:
    columns = list(rows[0])
    widths = [max(len(c), *(len(row.get(c, "")) for row in rows)) for c in columns]
    lines = [dict(zip(columns, columns)), *rows]
    for number, row in enumerate(lines):
        cells = (row.get(c, "").rjust(w) for c, w in zip(columns, widths))
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")


if __name__ == "__main__":
    main()
