"""Print the times of a benchmark as tables, and draw them."""

from pathlib import Path
from typing import Any, Dict, Iterable, List

from sledgehammer.analysis.plots import literally, pyplot
from sledgehammer.benchmark.rounds import Result
from sledgehammer.commands.base import print_table
from sledgehammer.support.files import replacing


def print_report(report: Dict[str, Any]) -> None:
    """Print all tables of a report."""
    machine = report["machine"]
    print(
        f"\n{report['rows']} texts of {report['data']}, {report['rounds']} rounds; "
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['instructions'])}); "
        + ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    )
    for name, reason in report["missing"].items():
        print(f"missing: {name}: {reason}")
    chosen = f" (thresholds chosen on {report['choose_on']})" if report["choose_on"] else ""
    print(f"\nanswers on these data{chosen}:\n")
    print_table(
        [
            {
                "contender": name,
                "accuracy": f"{point.accuracy:.1%}",
                "mean layers": f"{point.mean_layers:.2f}",
                "layer speedup": point.speedup_shown,
            }
            for name, point in {**report["answers"], **report["rival_answers"]}.items()
        ]
    )
    for threads, batch_size in dict.fromkeys((r.threads, r.batch_size) for r in report["results"]):
        group = [r for r in report["results"] if (r.threads, r.batch_size) == (threads, batch_size)]
        print_group(group)
        _print_against(group, report["answers"])
    for threads, profiles in report["profiles"].items():
        _print_profiles(threads, profiles)
    if "first_answer" in report:
        print("\nfrom the start of a process to its first answer (quartiles):\n")
        print_table(
            [
                {"command": name, "seconds": f"{t[0]:.2f} ({t[1]:.2f} to {t[2]:.2f})"}
                for name, t in report["first_answer"].items()
            ]
        )


def print_group(group: List[Result]) -> None:
    """Print the figures of all contenders at one batch size and number of threads.

    The mean comes first. The median flatters early exit: once half of the texts leave at the first
    exit, it is that exit's time.
    """
    first = group[0]
    reference = _reference(group)
    print(
        f"\nbatch size {first.batch_size}, {first.threads} threads; milliseconds a batch, ratios "
        f"to {reference} (quartiles over the rounds):\n"
    )
    print_table(
        [
            {
                "contender": r.contender,
                "mean": f"{r.mean:.2f}",
                "p50": f"{r.p50:.2f}",
                "p95": f"{r.p95:.2f}",
                "p99": f"{r.p99:.2f}",
                "tokenising": f"{r.tokenise:.2f}",
                "model": f"{r.model:.2f}",
                "ratio of means": _ratio(r.throughput_ratios, reference),
                "ratio of p50s": _ratio(r.latency_ratios, reference),
                "texts a second": f"{r.throughput:.0f}",
            }
            for r in group
        ]
    )


def _print_against(group: List[Result], our_names: Iterable[str]) -> None:
    """Print how many times faster each of our contenders is than each rival."""
    ours = [r for r in group if r.contender in our_names]
    rivals = [r.contender for r in group if r.contender not in our_names]
    if not rivals:
        return
    print("\nhow many times faster than each rival (means; p50s):\n")
    print_table(
        [
            {
                "contender": r.contender,
                **{
                    rival: f"{r.throughput_ratios[rival][0]:.2f}x; {r.latency_ratios[rival][0]:.2f}x"
                    for rival in rivals
                },
            }
            for r in ours
        ]
    )


def _print_profiles(threads: int, profiles: Dict[str, Any]) -> None:
    if not profiles:
        return
    print(
        f"\nhow an engine spends its time if every text runs to the end, {threads} threads; "
        "milliseconds:\n"
    )
    print_table(
        [
            {
                "contender": name,
                "tokenising": f"{profile['tokenise']:.3f}",
                "each segment": ", ".join(f"{ms:.3f}" for ms in profile["segments"]),
                "its head's share": ", ".join(f"{share:.1%}" for share in profile["heads"]),
            }
            for name, profile in profiles.items()
        ]
    )


def _reference(group: List[Result]) -> str:
    """Return the rival that most people run today if it was timed, else the last contender."""
    names = [r.contender for r in group]
    return "full, eager" if "full, eager" in names else names[-1]


def _ratio(ratios: Dict[str, List[float]], reference: str) -> str:
    if reference not in ratios:
        return "1"
    median, low, high = ratios[reference]
    return f"{median:.2f}x ({low:.2f} to {high:.2f})"


def plot(report: Dict[str, Any], target: Path) -> None:
    """Draw the latency of the smallest batches and the throughput of the largest, all threads."""
    plt = pyplot()
    threads = max(r.threads for r in report["results"])
    sizes = sorted({r.batch_size for r in report["results"]})
    shown = [r for r in report["results"] if r.threads == threads]
    height = 0.4 * len(report["contenders"]) + 1.8
    figure, axes = plt.subplots(1, 2, figsize=(11, height), sharey=True, layout="constrained")
    single = [r for r in shown if r.batch_size == sizes[0]][::-1]
    names = [literally(r.contender) for r in single]
    axes[0].barh(names, [r.mean for r in single], color="tab:blue", alpha=0.7, label="mean")
    for figure_name, mark in (("p50", "o"), ("p95", "|"), ("p99", "x")):
        values = [getattr(r, figure_name) for r in single]
        axes[0].plot(values, names, mark, color="black", markersize=7, label=figure_name)
    axes[0].set_xlabel(f"milliseconds, batch size {sizes[0]}")
    large = [r for r in shown if r.batch_size == sizes[-1]][::-1]
    axes[1].barh(names, [r.throughput for r in large], color="tab:green", alpha=0.7)
    axes[1].set_xlabel(f"texts a second, batch size {sizes[-1]}")
    for axis in axes:
        axis.grid(axis="x", alpha=0.3)
        axis.margins(y=0.02)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=4)
    figure.suptitle(
        literally(f"{report['title']}\n{threads} threads, {report['machine']['processor']}"),
        fontsize="medium",
    )
    with replacing(target) as partial:
        figure.savefig(partial, format=target.suffix[1:], dpi=160)
    plt.close(figure)
