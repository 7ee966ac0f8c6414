"""How times are shown: tables and a figure."""

from pathlib import Path
from typing import Any, Dict, Iterable, List

from sledgehammer.analysis.plots import pyplot
from sledgehammer.benchmark.rounds import Result
from sledgehammer.commands.base import print_table
from sledgehammer.support.files import replacing


def print_report(report: Dict[str, Any]) -> None:
    machine = report["machine"]
    print(
        f"\n{report['rows']} texts of {report['data']}, {report['rounds']} rounds in turns; "
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['instructions'])}); "
        + ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    )
    for name, reason in report["missing"].items():
        print(f"missing: {name}: {reason}")
    print("\nanswers on these data (thresholds chosen on " + report["choose_on"] + "):\n")
    print_table(
        [
            {
                "contender": name,
                "accuracy": f"{point.accuracy:.1%}",
                "mean layers": f"{point.mean_layers:.2f}",
                "layer speedup": f"{point.layer_speedup:.2f}x",
            }
            for name, point in report["answers"].items()
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
    """The figures of all contenders at one batch size and number of threads."""
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
                "p50": f"{r.p50:.2f}",
                "p95": f"{r.p95:.2f}",
                "p99": f"{r.p99:.2f}",
                "tokenising": f"{r.tokenise:.2f}",
                "model": f"{r.model:.2f}",
                "p50 ratio": _ratio(r.latency_ratios, reference),
                "texts a second": f"{r.throughput:.0f}",
                "throughput ratio": _ratio(r.throughput_ratios, reference),
            }
            for r in group
        ]
    )


def _print_against(group: List[Result], own: Iterable[str]) -> None:
    """Each of ours against each rival: the p50's ratio, and the throughput's."""
    ours = [r for r in group if r.contender in own]
    rivals = [r.contender for r in group if r.contender not in own]
    if not rivals:
        return
    print("\nhow many times faster than each rival (p50; throughput):\n")
    print_table(
        [
            {
                "contender": r.contender,
                **{
                    rival: f"{r.latency_ratios[rival][0]:.2f}x; {r.throughput_ratios[rival][0]:.2f}x"
                    for rival in rivals
                },
            }
            for r in ours
        ]
    )


def _print_profiles(threads: int, profiles: Dict[str, Any]) -> None:
    if not profiles:
        return
    print(f"\nwhere the time of an engine goes, all texts to the end, {threads} threads; ms:\n")
    print_table(
        [
            {
                "contender": name,
                "tokenising": f"{found['tokenise']:.3f}",
                "each segment": ", ".join(f"{ms:.3f}" for ms in found["segments"]),
                "its head's share": ", ".join(f"{share:.1%}" for share in found["heads"]),
            }
            for name, found in profiles.items()
        ]
    )


def _reference(group: List[Result]) -> str:
    """The rival that most people run today, if it is there."""
    names = [r.contender for r in group]
    return "full, eager" if "full, eager" in names else names[-1]


def _ratio(ratios: Dict[str, List[float]], reference: str) -> str:
    if reference not in ratios:
        return "1"
    median, low, high = ratios[reference]
    return f"{median:.2f}x ({low:.2f} to {high:.2f})"


def plot(report: Dict[str, Any], target: Path) -> None:
    """Latency of single texts and throughput of the largest batches, with all threads."""
    plt = pyplot()
    threads = max(r.threads for r in report["results"])
    sizes = sorted({r.batch_size for r in report["results"]})
    shown = [r for r in report["results"] if r.threads == threads]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.5 * len(report["contenders"]) + 1.6))
    single = [r for r in shown if r.batch_size == sizes[0]][::-1]
    names = [r.contender for r in single]
    axes[0].barh(names, [r.p50 for r in single], color="tab:blue", alpha=0.7)
    axes[0].plot([r.p95 for r in single], names, "|", color="black", markersize=12, label="p95")
    axes[0].set_xlabel(f"ms, batch size {sizes[0]}, p50")
    axes[0].legend(frameon=False, loc="lower right")
    large = [r for r in shown if r.batch_size == sizes[-1]][::-1]
    axes[1].barh(names, [r.throughput for r in large], color="tab:green", alpha=0.7)
    axes[1].set_xlabel(f"texts a second, batch size {sizes[-1]}")
    axes[1].set_yticklabels([])
    for axis in axes:
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{report['data']}, {threads} threads, {report['machine']['processor']}")
    figure.tight_layout()
    with replacing(target) as partial:
        figure.savefig(partial, format=target.suffix[1:], dpi=160)
    plt.close(figure)
