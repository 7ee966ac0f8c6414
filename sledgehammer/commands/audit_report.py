"""Show an audit as tables, as a picture, and as examples."""

from pathlib import Path
from typing import Any, Dict, List, Optional

from sledgehammer.analysis.slowdown import Slowdown, ratio
from sledgehammer.analysis.slowdown_limits import Times
from sledgehammer.analysis.slowdown_plot import plot_slowdown
from sledgehammer.commands.audit_run import IN_ALL, Auditor, layers_of
from sledgehammer.commands.base import print_table


def print_report(report: Dict[str, Any]) -> None:
    """Print what an audit found."""
    policy, rows = report["policy"], report["rows"]
    settings = ", ".join(f"{n} {v:g}" for n, v in policy.items() if isinstance(v, (int, float)))
    print(
        f"{rows} rows, policy {policy['type']}{f' ({settings})' if settings else ''}; for each kind "
        f"at most {report['changes']} changes a text, {report['queries']} queries:\n"
    )
    print_table([_kind_cells(one) for one in report["slowdown"]])
    print("\nThe slowest versions in all, and what holds them:\n")
    print_table(_limit_rows(report))
    if report["limits"]["budget"] is None:
        print(
            "\nno budget: what a threshold costs is not known; train with the callback "
            "sledgehammer_calibration, or run `allennlp calibrate`"
        )
    if "time" in report:
        print("\nEach text alone, in milliseconds:\n")
        print_table([_time_cells(name, one) for name, one in report["time"].items()])


def _kind_cells(one: Slowdown) -> Dict[str, str]:
    cells = {
        "change": one.kind,
        "queries a text": f"{one.queries:.1f}",
        "layers before": f"{one.mean_layers_before:.2f}",
        "one at random": _number(one.mean_layers_at_random, ".2f"),
        "slowest": f"{one.mean_layers_after:.2f}",
        "slow-down": _times(one.mean_slowdown),
        "worst": _times(one.worst_slowdown),
        "at the last exit": f"{one.deepest_before:.0%} -> {one.deepest_after:.0%}",
        "label changed": f"{one.labels_changed:.0%}",
    }
    if one.accuracy_before is not None:
        cells["accuracy"] = _accuracy(one.accuracy_before, one.accuracy_after)
    return cells


def _limit_rows(report: Dict[str, Any]) -> List[Dict[str, str]]:
    in_all = next(one for one in report["slowdown"] if one.kind == IN_ALL)
    limits = [_limit_cells("nothing", vars(in_all))]
    for held in report["limits"]["max_exit_layer"]:
        limits.append(_limit_cells(f"max_exit_layer {held['max_exit_layer']}", held))
    if budget := report["limits"]["budget"]:
        limits.append(_limit_cells(f"budget {budget['budget']:.2f}", budget))
    return limits


def _limit_cells(name: str, held: Dict[str, Any]) -> Dict[str, str]:
    cells = {
        "held by": name,
        "layers before": f"{held['mean_layers_before']:.2f}",
        "after": f"{held['mean_layers_after']:.2f}",
        "slow-down": _times(held["mean_slowdown"]),
        "worst": _times(held["worst_slowdown"]) if "worst_slowdown" in held else "",
    }
    if held.get("accuracy_before") is not None:
        cells["accuracy"] = _accuracy(held["accuracy_before"], held["accuracy_after"])
    return cells


def _time_cells(name: str, one: Times) -> Dict[str, str]:
    return {
        "": name if one.deadline_ms is None else f"deadline {one.deadline_ms:.2f} ms",
        "mean before": f"{one.mean_ms_before:.2f}",
        "after": f"{one.mean_ms_after:.2f}",
        "slow-down": _times(one.mean_slowdown),
        "worst": _times(one.worst_slowdown),
        "99 % within, before": f"{one.p99_ms_before:.2f}",
        "99 % within, after": f"{one.p99_ms_after:.2f}",
        "layers after": f"{one.mean_layers_after:.2f}",
    }


def _number(value: Optional[float], form: str) -> str:
    return "" if value is None else format(value, form)


def _times(value: float) -> str:
    return f"{value:.2f}x"


def _accuracy(before: float, after: Optional[float]) -> str:
    return f"{before:.1%} -> {_number(after, '.1%')}"


def plot(auditor: Auditor, target: Path, title: str) -> None:
    """Draw where the rows leave as they are, and at their slowest."""
    layers = {"as they are": [one.outcome.layers for one in auditor.before]}
    for kind, searches in auditor.searches.items():
        layers[kind] = layers_of(searches)
    plot_slowdown(layers, auditor.engine.manifest.exit_layers, target, title)


def examples(auditor: Auditor, count: int) -> List[Dict[str, Any]]:
    """Return the rows that were slowed down most, the worst first; at most `count` of them."""
    found: List[Dict[str, Any]] = [
        {
            "row": number,
            "slowdown": ratio(after.outcome.layers, before.outcome.layers),
            "layers_before": before.outcome.layers,
            "layers_after": after.outcome.layers,
            "label_before": before.outcome.label,
            "label_after": after.outcome.label,
            "texts_before": list(before.texts),
            "texts_after": list(after.texts),
        }
        for number, (before, after) in enumerate(
            zip(auditor.before, (one.slowest for one in auditor.slowest)), start=1
        )
        if after.outcome.layers > before.outcome.layers
    ]
    return sorted(found, key=lambda one: (-one["slowdown"], one["row"]))[:count]


def print_examples(shown: List[Dict[str, Any]]) -> None:
    """Print examples, each as it was and changed."""
    for one in shown:
        print(f"\nrow {one['row']}: {one['layers_before']} -> {one['layers_after']} layers")
        print(f"  {one['label_before']}: {' / '.join(one['texts_before'])}")
        print(f"  {one['label_after']}: {' / '.join(one['texts_after'])}")
