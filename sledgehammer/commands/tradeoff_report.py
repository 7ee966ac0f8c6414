"""How a trade-off is shown: tables, lines of a plot, CSV."""

import csv
from pathlib import Path
from typing import Any, Dict, List

from sledgehammer.analysis.plots import Line
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.benchmark.settings_timing import Measurement
from sledgehammer.commands.base import print_table
from sledgehammer.support.files import replacing

TABLE_ROWS = 16
"""About so many points of a curve are printed; files get all of them."""


def print_curves(report: Dict[str, Any]) -> None:
    curves = report["curves"]
    chosen = _spread(curves["policy"])
    points = [curves["policy"][i] for i in chosen]
    table = [_cells(p.name, f"{p.setting:.4g}", p) for p in points]
    for cells, i in zip(table, chosen):
        cells["random exits"] = f"{curves['random'][i].accuracy:.1%}"
    print_table(table)
    print()
    single = [
        _cells("system", f"only layer {list(p.shares)[i]}", p)
        for i, p in enumerate(curves["single exits"])
    ]
    others = [
        _cells(
            "system",
            short_name(name) + (f" at {p.setting:.4g}" if len(points) > 1 else ""),
            p,
            shares=False,
        )
        for name, points in report["versus"].items()
        for p in (points[i] for i in _spread(points, 6))
    ]
    print_table([*single, _cells("system", "oracle", curves["oracle"][0]), *others])


def _spread(points: List[Point], count: int = TABLE_ROWS) -> List[int]:
    """Positions of about `count` points, as far apart in layers as can be."""
    if len(points) <= count:
        return list(range(len(points)))
    first, last = points[0].mean_layers, points[-1].mean_layers
    wanted = [first + (last - first) * i / (count - 1) for i in range(count)]
    nearest = {
        min(range(len(points)), key=lambda i: abs(points[i].mean_layers - w)) for w in wanted
    }
    return sorted(nearest | {0, len(points) - 1})


def _cells(column: str, name: str, point: Point, shares: bool = True) -> Dict[str, str]:
    cells = {
        column: name,
        "accuracy": f"{point.accuracy:.1%}",
        "macro-F1": f"{point.macro_f1:.3f}",
        "mean layers": f"{point.mean_layers:.2f}",
        "layer speedup": f"{point.layer_speedup:.2f}x",
        "calibration error": f"{point.calibration_error:.3f}",
    }
    for layer, share in point.shares.items() if shares else ():
        cells[f"exit at {layer}"] = f"{share:.0%}"
    return cells


def print_measurement(measured: Measurement) -> None:
    print(
        f"\nwall-clock of the model on {measured.rows} texts, batch size {measured.batch_size}, "
        f"{measured.threads} threads, {measured.device}; medians of {measured.rounds} rounds "
        "taken in turns (and their quartiles):\n"
    )
    print_table(
        [
            {
                p.name: f"{p.setting:.4g}",
                "mean layers": f"{p.mean_layers:.2f}",
                "layer speedup": f"{p.layer_speedup:.2f}x",
                "ms per text": f"{p.milliseconds:.2f} ({_range(p.milliseconds_quartiles)})",
                "wall-clock speedup": f"{p.speedup:.2f}x ({_range(p.speedup_quartiles)})",
            }
            for p in measured.points
        ]
    )


def _range(quartiles: List[float]) -> str:
    return " to ".join(f"{value:.2f}" for value in quartiles)


def lines(report: Dict[str, Any]) -> List[Line]:
    curves = report["curves"]
    drawn = [
        Line(report["policy"]["type"], curves["policy"]),
        Line("random exits, as many at each", curves["random"], "dashed"),
        Line("single exits", curves["single exits"], "marks"),
        Line("oracle", curves["oracle"], "marks"),
    ]
    others = report["versus"].items()
    return drawn + [Line(short_name(n), p, "marks" if len(p) == 1 else "line") for n, p in others]


def short_name(archive: str) -> str:
    """The archive's folder, if it has AllenNLP's usual name in it."""
    return archive.removesuffix("/model.tar.gz")


def write_csv(report: Dict[str, Any], target: Path) -> None:
    rows = []
    for name, points in {**report["curves"], **report["versus"]}.items():
        for point in points:
            figures = {k: v for k, v in point.figures().items() if k != "shares"}
            shares = {f"share_at_exit_{layer}": share for layer, share in point.shares.items()}
            rows.append({"curve": name, **figures, **shares})
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with replacing(target) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
