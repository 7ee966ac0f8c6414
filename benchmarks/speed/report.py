"""Turn the reports in `docs/results/speed/` into the table of its page and the README's headline.

The reports come from `allennlp benchmark`. Run `python -m benchmarks.speed.report`.
"""

import json
from typing import Any, Dict, List

from benchmarks import sections

RESULTS = sections.RESULTS / "speed"
PAGE = sections.RESULTS / "speed.md"
MARKED = sections.section_pattern("speed")
HEADLINE = sections.section_pattern("headline")

DATASETS = ("sst", "ag_news", "imdb")
RUNTIMES = ("onnx", "openvino")
THREADS = 2
EAGER = "full, eager"
COLUMNS = [
    "data", "engine, threshold", "accuracy (its last exit)", "layer speedup",
    "mean of single texts (ms)", "p50", "p95", "p99", "against eager float32: means; p50s",
    "against the full model in the same int8 runtime: means; p50s",
    "texts a second, batches of 32", "against the full model in the same int8 runtime",
]  # fmt: skip


def load() -> Dict[str, Dict[str, Any]]:
    """Return the reports, by dataset."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in DATASETS}


def section(reports: Dict[str, Dict[str, Any]]) -> str:
    """Return the generated part of the page."""
    rows = [COLUMNS, ["---", "---", *["---:"] * (len(COLUMNS) - 2)]]
    for name, report in reports.items():
        rows += [_row(name, runtime, report) for runtime in RUNTIMES]
    machine = next(iter(reports.values()))["machine"]
    libraries = ", ".join(
        f"{library} {machine['libraries'][library]}"
        for library in ("torch", "onnxruntime", "openvino")
    )
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    dates = ", ".join(sorted({report["date"] for report in reports.values()}))
    return (
        f"{table}\n{dates}, {machine['processor']} ({', '.join(machine['instructions'])}), "
        f"{libraries}; quartiles over the rounds in brackets.\n"
    )


def _row(dataset: str, runtime: str, report: Dict[str, Any]) -> List[str]:
    early, full = (name for name in report["answers"] if f"-{runtime}-" in name)
    answers, single, batch = (
        report["answers"][early], _result(report, early, 1), _result(report, early, 32)
    )  # fmt: skip
    rival = f"full, {runtime}-int8"
    return [
        dataset,
        f"{runtime} int8, {answers['threshold']:.4g}",
        f"{answers['accuracy']:.1%} ({report['answers'][full]['accuracy']:.1%})",
        f"{answers['layer_speedup']:.2f}x",
        *(f"{time:.2f}" for time in (mean(single), single["p50"], single["p95"], single["p99"])),
        f"{_ratio(single['throughput_ratios'][EAGER])}; {_ratio(single['latency_ratios'][EAGER])}",
        f"{_ratio(single['throughput_ratios'][rival])}; {_ratio(single['latency_ratios'][rival])}",
        f"{batch['throughput']:.0f}",
        _ratio(batch["throughput_ratios"][rival]),
    ]


def _result(report: Dict[str, Any], contender: str, batch_size: int) -> Dict[str, Any]:
    wanted = (contender, THREADS, batch_size)
    return next(
        r for r in report["results"] if (r["contender"], r["threads"], r["batch_size"]) == wanted
    )


def mean(result: Dict[str, Any]) -> float:
    """Return the mean milliseconds of a batch, the median over the rounds.

    A median over the texts would flatter early exit: once half of them leave at the first exit, it
    is that exit's time.
    """
    return 1000 * result["batch_size"] / result["throughput"]


def _ratio(quartiles: List[float]) -> str:
    median, low, high = quartiles
    return f"{median:.2f}x ({low:.2f} to {high:.2f})"


def headline(report: Dict[str, Any]) -> str:
    """Return the README's figure: an AG News engine compared with the same model without exits.

    # Parameters

    report : `Dict[str, Any]`
        The report of `allennlp benchmark` on AG News.
    """
    early, full = (name for name in report["answers"] if "-onnx-" in name)
    rival = "full, onnx-int8"
    single, plain = _result(report, early, 1), _result(report, rival, 1)
    answers, last = report["answers"][early], report["answers"][full]
    machine = report["machine"]
    ratio, low, high = single["throughput_ratios"][rival]
    return (
        f"On AG News, an int8 engine with early exits answers a text in {mean(single):.2f} ms on average; the "
        f"same 6-layer MiniLM in the same int8 ONNX Runtime, without exits, takes "
        f"{mean(plain):.2f} ms. That is **{ratio:.1f} times faster** (quartiles {low:.1f} to "
        f"{high:.1f}) at {answers['accuracy']:.1%} accuracy, where all layers give "
        f"{last['accuracy']:.1%} (single texts, {THREADS} threads of an "
        f"{machine['processor']}; [all figures and rivals](docs/results/speed.md)).\n"
    )


def write() -> None:
    """Put the generated parts into the page and the README."""
    reports = load()
    sections.put_section(MARKED, section(reports), PAGE)
    sections.put_section(HEADLINE, headline(reports["ag_news"]), sections.README)


if __name__ == "__main__":
    write()
