"""Show a trade-off as tables, as the series of a plot, and as CSV."""

import csv
from pathlib import Path
from typing import Any, Dict, List

from sledgehammer.analysis.series import Series, on_the_axis
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.commands.base import print_table
from sledgehammer.support.files import replacing

TABLE_ROWS = 16
"""About how many points of a curve are printed; files get all of them."""


def curves_of(tradeoff: Tradeoff, curve: List[Point]) -> Dict[str, List[Point]]:
    """Return a policy's curve, and what it is compared with on the same rows, as reports have them."""
    return {
        "policy": curve,
        "random": tradeoff.random_exits(curve),
        "single exits": tradeoff.single_exits(),
        "oracle": [tradeoff.oracle()],
    }


def print_curves(report: Dict[str, Any]) -> None:
    """Print the policy's curve, then single exits, the oracle and other archives."""
    curves = report["curves"]
    positions = _spread(curves["policy"])
    points = [curves["policy"][i] for i in positions]
    table = [_cells(p.name, f"{p.setting:.4g}", p) for p in points]
    for cells, i in zip(table, positions):
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
    """Return the positions of about `count` points, spread evenly over the mean layers."""
    if len(points) <= count:
        return list(range(len(points)))
    first, last = points[0].mean_layers, points[-1].mean_layers
    targets = [first + (last - first) * i / (count - 1) for i in range(count)]
    nearest = {
        min(range(len(points)), key=lambda i: abs(points[i].mean_layers - target))
        for target in targets
    }
    return sorted(nearest | {0, len(points) - 1})


def _cells(column: str, name: str, point: Point, shares: bool = True) -> Dict[str, str]:
    cells = {
        column: name,
        "accuracy": f"{point.accuracy:.1%}",
        "macro-F1": f"{point.macro_f1:.3f}",
        "mean layers": f"{point.mean_layers:.2f}",
        "layer speedup": point.speedup_shown,
        "calibration error": f"{point.calibration_error:.3f}",
    }
    for layer, share in point.shares.items() if shares else ():
        cells[f"exit at {layer}"] = f"{share:.0%}"
    return cells


def series(report: Dict[str, Any]) -> List[Series]:
    """Return what a plot of a report shows: our curve, its references, and other archives."""
    curves, bands = report["curves"], report["bands"]
    exits = [f"layer {layer}" for layer in report["exit_layers"]]
    drawn = [
        Series(report["policy"]["type"], curves["policy"], band=bands["policy"]),
        Series("random exits, as many at each", curves["random"], "dashed"),
        Series("single exits", curves["single exits"], "marks", labels=exits),
        Series("oracle", curves["oracle"], "marks", labels=["oracle"]),
    ]
    for archive, points in report["versus"].items():
        style = "marks" if len(points) == 1 else "line"
        drawn.append(Series(short_name(archive), points, style, bands[archive]))
    return [one for one in map(on_the_axis, drawn) if one.points]


def short_name(archive: str) -> str:
    """Return an archive's folder if its file has AllenNLP's usual name, else its path."""
    return archive.removesuffix("/model.tar.gz")


def write_csv(report: Dict[str, Any], target: Path) -> None:
    """Write one row for each point of each curve."""
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
