"""Measure what early exit costs besides the layers that it runs, one text at a time.

The model is forced to stop at each of its exits, and timed against transformers' own model cut to
as many layers; at threshold 1.0, it is timed against the whole model. All take turns in one run.
"""

from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

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
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import TokenTensors


@contextmanager
def forced_exit(model: MultiExitClassifier, position: Optional[int]) -> Iterator[None]:
    """Let all rows stop at one exit within the block; if it is `None`, set the threshold to 1.0.

    The policy is the usual one, but temperatures make the lower exits utterly unsure and this one
    certain.
    """
    temperatures, threshold = model.temperatures.clone(), model.policy.swept
    try:
        if position is None:
            model.policy.swept = 1.0
        else:
            model.policy.swept = 0.99
            model.temperatures[:position] = 1e9
            model.temperatures[position] = 1e-9
        yield
    finally:
        model.temperatures.copy_(temperatures)
        model.policy.swept = threshold


@torch.no_grad()
def measure(material: Material, rounds: int) -> List[Dict[str, Any]]:
    """Return a result for each exit, and one for threshold 1.0."""
    model, rows = material
    plain = [PlainClassifier(model, position) for position in range(len(model.exit_layers))]
    variants: Dict[Any, Callable[[], object]] = {}
    places: Sequence[Optional[int]] = [*range(len(plain)), None]
    for place in places:
        variants["ours", place] = partial(_run_forced, material, place)
        if place is not None:
            variants["plain", place] = partial(_run_plain, plain[place], rows)
    timings = alternate(variants, rounds)
    results = []
    for place in places:
        ours = timings["ours", place]
        plain_timing = timings["plain", len(plain) - 1 if place is None else place]
        results.append(
            {
                "exit_layer": model.exit_layers[-1 if place is None else place],
                "forced": place is not None,
                "milliseconds": milliseconds(ours, len(rows)),
                "plain_milliseconds": milliseconds(plain_timing, len(rows)),
                "ratio": ratio_of(ours, plain_timing),
            }
        )
    return results


def _run_forced(material: Material, place: Optional[int]) -> None:
    model, rows = material
    expected = model.exit_layers[-1 if place is None else place]
    with forced_exit(model, place):
        for row in rows:
            assert int(model(row)["exit_layer"]) == expected


def _run_plain(model: PlainClassifier, rows: Sequence[TokenTensors]) -> None:
    for row in rows:
        model(row)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    parsed = parser("overhead", __doc__, rows=40, rounds=21).parse_args(arguments)
    material = prepare(parsed)
    results = measure(material, parsed.rounds)
    table = [
        {
            "exit": f"layer {r['exit_layer']}" if r["forced"] else "threshold 1.0",
            "ms per text": shown(r["milliseconds"]),
            "transformers' own": shown(r["plain_milliseconds"]),
            "ratio": shown(r["ratio"]),
        }
        for r in results
    ]
    print(tabulate(table, headers="keys", tablefmt="github"))
    finish(parsed, material, {"exits": results})


if __name__ == "__main__":
    import sledgehammer.plugin  # noqa: F401  registers everything

    main()
