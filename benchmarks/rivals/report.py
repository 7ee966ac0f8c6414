"""Turn the JSON in `docs/results/rivals/` into the figures and tables of its page.

Run `python -m benchmarks.rivals.report`.
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from benchmarks import sections

RESULTS = sections.RESULTS / "rivals"
PAGE = sections.RESULTS / "rivals.md"
MARKED = sections.section_pattern("rivals")
DATASETS = ("sst", "ag_news", "imdb")
BATCH_SIZES = (1, 32)
WITH, WITHOUT = "exits, the lexical one first", "exits"


class Spot(NamedTuple):
    """Hold a place in the figure.

    # Parameters

    accuracy, error : `float`
        A share of the rows, and its standard error.
    speed, low, high : `float`
        Texts a second: the median over the rounds, and its quartiles.
    """

    accuracy: float
    error: float
    speed: float
    low: float
    high: float


def load() -> Dict[str, Dict[str, Any]]:
    """Return the reports of `sledgehammer benchmark` that there are, by dataset."""
    files = {name: RESULTS / f"{name}.json" for name in DATASETS}
    return {name: json.loads(f.read_text()) for name, f in files.items() if f.is_file()}


def load_other(name: str) -> Optional[Dict[str, Any]]:
    """Return the content of another file of results, if it is there."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def spots(report: Dict[str, Any], batch_size: int) -> Dict[str, List[Spot]]:
    """Return what the figure shows: our two curves, fastest first, and each rival's one spot."""
    found: Dict[str, List[Spot]] = {WITHOUT: [], WITH: []}
    for name, point in report["answers"].items():
        series = WITH if "-1" in point["shares"] else WITHOUT
        found[series].append(_spot(report, name, point, batch_size))
    for name, point in report["rival_answers"].items():
        found[name] = [_spot(report, name, point, batch_size)]
    for name in report["contenders"]:
        if name.startswith("full, "):  # the network of our curve without exits: its last point
            found[name] = [_spot(report, name, _last(report), batch_size)]
    return {name: sorted(at, key=lambda s: -s.speed) for name, at in found.items() if at}


def _last(report: Dict[str, Any]) -> Dict[str, Any]:
    """Return the point of all layers, without the lexical exit."""
    without = [p for p in report["answers"].values() if "-1" not in p["shares"]]
    return max(without, key=lambda point: point["mean_layers"])


def _spot(report: Dict[str, Any], name: str, point: Dict[str, Any], batch_size: int) -> Spot:
    result = _result(report, name, batch_size)
    accuracy = point["accuracy"]
    error = float(np.sqrt(accuracy * (1 - accuracy) / report["accuracy_rows"]))
    return Spot(accuracy, error, result["throughput"], *result["throughput_quartiles"])


def _result(report: Dict[str, Any], name: str, batch_size: int) -> Dict[str, Any]:
    return next(
        r for r in report["results"] if (r["contender"], r["batch_size"]) == (name, batch_size)
    )


def above(curve: Sequence[Spot], rival: Spot) -> float:
    """Return how far a rival is above the best that a curve reaches at the rival's speed or more.

    A curve that is nowhere so fast reaches nothing there.
    """
    fast_enough = [spot.accuracy for spot in curve if spot.speed >= rival.speed]
    return rival.accuracy - max(fast_enough, default=0.0)


def table(reports: Dict[str, Dict[str, Any]]) -> str:
    """Return a Markdown table of every contender: its accuracy and its times."""
    header = [
        "data", "contender", "accuracy", "mean layers", "mean (ms)", "p50", "p95", "p99",
        "texts a second, batches of 32", "speed against eager float32, single texts; batches",
    ]  # fmt: skip
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    for dataset, report in reports.items():
        answers = {**report["answers"], **report["rival_answers"]}
        for name in report["contenders"]:
            point = answers.get(name, _last(report))
            single, batch = (_result(report, name, size) for size in BATCH_SIZES)
            ratios = [r["throughput_ratios"].get("full, eager") for r in (single, batch)]
            lines.append(
                [
                    dataset, _name(report, name), f"{point['accuracy']:.1%}",
                    f"{point['mean_layers']:.2f}",
                    *(f"{single[figure]:.2f}" for figure in ("mean", "p50", "p95", "p99")),
                    f"{batch['throughput']:.0f}",
                    "; ".join(_ratio(ratio) for ratio in ratios),
                ]
            )  # fmt: skip
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _name(report: Dict[str, Any], name: str) -> str:
    point = report["answers"].get(name)
    if point is None:
        return name
    return f"{WITH if '-1' in point['shares'] else WITHOUT}, threshold {point['threshold']:g}"


def _ratio(quartiles: Optional[List[float]]) -> str:
    if quartiles is None:
        return "1"
    median, low, high = quartiles
    return f"{median:.2f}x ({low:.2f} to {high:.2f})"


def verdict(report: Dict[str, Any], batch_size: int) -> str:
    """Return which rivals are above our curve with the lexical exit, in words."""
    found = spots(report, batch_size)
    rivals = {n: at[0] for n, at in found.items() if n not in (WITH, WITHOUT, "lexical exit alone")}
    over = {name: above(found[WITH], spot) for name, spot in rivals.items()}
    named = [f"{name} (by {100 * by:.1f} points)" for name, by in over.items() if by > 0]
    kind = "single texts" if batch_size == 1 else f"batches of {batch_size}"
    return f"{kind}: " + (", ".join(named) if named else "none")


def learning_table(learning: Dict[str, Any]) -> str:
    """Return the accuracies of the learning curve, a line for each number of rows."""
    names = [n for n in learning["points"][0] if n != "rows" and not n.endswith(": seconds")]
    lines = [["training rows", *names], ["---:"] * (len(names) + 1)]
    for point in learning["points"]:
        cells = [f"{point[n]:.1%} ({point[n + ': seconds']:.0f} s)" for n in names]
        lines.append([str(point["rows"]), *cells])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cost_table(cost: Dict[str, Any]) -> str:
    """Return what a text costs below the first layer."""
    columns = ("mean", "p50", "p95", "p99", "tokenising", "features", "weights")
    lines = [["data", "words", *columns], ["---", *["---:"] * (len(columns) + 1)]]
    for found in cost["datasets"]:
        times = [f"{found[column]:.3f}" for column in columns]
        lines.append([found["dataset"], f"{found['mean_words']:.0f}", *times])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def circumstances(content: Dict[str, Any]) -> str:
    """Return when and where something was measured."""
    machine = content["machine"]
    libraries = ", ".join(
        f"{name} {machine['libraries'][name]}" for name in ("onnxruntime", "numpy", "tokenizers")
    )
    return f"{content['date']}, {machine['processor']}, Python {machine['python']}, {libraries}"


def section(reports: Dict[str, Dict[str, Any]]) -> str:
    """Return the generated part of the page."""
    parts = [f"![{name}: accuracy against texts a second](rivals/{name}.svg)\n" for name in reports]
    if reports:
        parts += ["\n", table(reports), "\n"]
    for name, report in reports.items():
        threads = report["results"][0]["threads"]
        parts.append(
            f"- {name}: accuracies on {report['accuracy_rows']} test rows, times of "
            f"{report['rows']} of them, {report['rounds']} rounds, {threads} "
            f"thread{'s' if threads > 1 else ''} ({circumstances(report)}). Rivals above the curve "
            f"with the lexical exit at their own speed: {verdict(report, 1)}; "
            f"{verdict(report, 32)}.\n"
        )
    if learning := load_other("learning-imdb"):
        parts.append(
            "\n### What more rows are worth: IMDB\n\n"
            f"Accuracy on {learning['test_rows']} test reviews, with the CPU time of the fit "
            f"(`python -m benchmarks.rivals.learning imdb`; {circumstances(learning)}).\n\n"
            + learning_table(learning)
        )
    if cost := load_other("cost"):
        parts.append(
            "\n### What a text costs below the first layer\n\n"
            "CPU time of single texts in milliseconds, one thread, the fastest of "
            f"{cost['rounds']} rounds each: percentiles of the whole, and the mean of each step "
            "(`python -m benchmarks.rivals.cost "
            f"{' '.join(found['dataset'] for found in cost['datasets'])}`; {circumstances(cost)}). "
            "SNLI has the features of pairs.\n\n" + cost_table(cost)
        )
    return "".join(parts)


def write() -> None:
    """Draw the figures and put the generated part into the page."""
    from benchmarks.rivals.figure import draw

    reports = load()
    for name, report in reports.items():
        draw(name, {size: spots(report, size) for size in BATCH_SIZES}, RESULTS / f"{name}.svg")
    sections.put_section(MARKED, section(reports), PAGE)


if __name__ == "__main__":
    write()
