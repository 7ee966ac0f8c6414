"""Measure how much of the saved work remains in batches, whose rows stop at different exits.

At the threshold at which half of the rows exit early, the model is timed against the ideal: the
same rows, sorted by their exit beforehand, where transformers' model cut to an exit's layer runs
batches of the rows of this exit. At threshold 1.0, where no row exits early, it is timed against
the whole model. All take turns in one run.
"""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from tabulate import tabulate

from benchmarks.material import (
    Material,
    finish,
    milliseconds,
    parser,
    prepare,
    ratio_of,
    shown,
)
from sledgehammer.benchmark.plain import PlainClassifier
from sledgehammer.benchmark.timing import alternate
from sledgehammer.network.encoder import TokenTensors


@torch.no_grad()
def half_early(material: Material) -> "tuple[float, List[int]]":
    """Return the threshold at which half of the rows exit early, and the exit of every row."""
    model, rows = material
    logits = torch.cat([model.runner.run_all_exits(row).logits for row in rows])
    early = model.calibrated(logits).max(dim=-1).values[:, :-1].max(dim=1).values
    highest = early.sort().values
    middle = len(highest) // 2
    # Between two confidences, so that rounding makes no difference.
    threshold = float((highest[middle - 1] + highest[middle]) / 2)
    settings = model.policy.values.with_value("threshold", threshold)
    return threshold, model.answer(logits, settings).exit.tolist()


@torch.no_grad()
def measure(material: Material, size: int, in_order: bool, rounds: int) -> Dict[str, Any]:
    """Time batches of `size` rows, in random order or by length."""
    model, rows = material
    threshold, exits = half_early(material)
    positions = list(range(len(rows)))
    if in_order:
        positions.sort(key=lambda i: rows[i]["input_ids"].size(1))
    plain = [PlainClassifier(model, position) for position in range(len(model.exit_layers))]
    batches = list(material.batches(positions, size))
    groups = [
        (plain[exit], list(material.batches([i for i in positions if exits[i] == exit], size)))
        for exit in range(len(plain))
    ]

    def exit_layers_at(threshold: float) -> List[int]:
        model.policy.swept = threshold
        return torch.cat([model(batch)["exit_layer"] for batch in batches]).tolist()

    before = model.policy.swept
    try:
        expected = [model.exit_layers[exits[i]] for i in positions]
        assert exit_layers_at(threshold) == expected, "as in the ideal"
        variants: Dict[str, Callable[[], object]] = {
            "half early": lambda: exit_layers_at(threshold),
            "ideal": lambda: _run_all(groups),
            "threshold 1.0": lambda: exit_layers_at(1.0),
            "whole": lambda: _run(plain[-1], batches),
        }
        timings = alternate(variants, rounds)
    finally:
        model.policy.swept = before
    return {
        "batch_size": size,
        "order": "by length" if in_order else "random",
        "threshold": threshold,
        "share_early": sum(exit < len(plain) - 1 for exit in exits) / len(exits),
        "milliseconds": {name: milliseconds(t, len(rows)) for name, t in timings.items()},
        "throughput_against_ideal": ratio_of(timings["ideal"], timings["half early"]),
        "time_against_whole": ratio_of(timings["threshold 1.0"], timings["whole"]),
    }


def _run(classifier: PlainClassifier, batches: Sequence[TokenTensors]) -> None:
    for batch in batches:
        classifier(batch)


def _run_all(groups: Sequence[Tuple[PlainClassifier, Sequence[TokenTensors]]]) -> None:
    for classifier, batches in groups:
        _run(classifier, batches)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    its_parser = parser("batching", __doc__, rows=384, rounds=9)
    its_parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 128], metavar="N")
    parsed = its_parser.parse_args(arguments)
    material = prepare(parsed)
    results = [
        measure(material, size, in_order, parsed.rounds)
        for size in parsed.batch_sizes
        for in_order in (False, True)
    ]
    table = [
        {
            "batch size": r["batch_size"],
            "order": r["order"],
            **{f"ms, {name}": f"{ms['median']:.2f}" for name, ms in r["milliseconds"].items()},
            "throughput against ideal": shown(r["throughput_against_ideal"]),
            "time at 1.0 against whole": shown(r["time_against_whole"]),
        }
        for r in results
    ]
    print(tabulate(table, headers="keys", tablefmt="github"))
    share, threshold = results[0]["share_early"], results[0]["threshold"]
    print(f"\nthreshold {threshold:.4f}: {share:.0%} of the rows exit before the last exit")
    finish(parsed, material, {"batches": results})


if __name__ == "__main__":
    import sledgehammer.plugin  # noqa: F401  registers everything

    main()
