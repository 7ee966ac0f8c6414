"""Run the whole test suite, a process a core: `python -m tests`.

Each process takes the next group of test files, the longest first. A group is a plain run of
pytest, so that what a test leaves behind in its process (threads, forks, patches) meets no other
group, and a process that dies takes only its own group with it.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from time import monotonic
from typing import List, NamedTuple, Optional

from sledgehammer.engine.runtimes import usable_cores

TESTS = Path(__file__).parent
LONGEST = ("test_manual.py", "commands", "benchmark", "export", "serving")
"""What is begun first, so that no process is left alone with it at the end."""

NO_TESTS = 5
"""Pytest's exit code where every file of a group asks to be skipped."""


class Outcome(NamedTuple):
    """Hold how a group ended: what pytest printed, and how many tests had which result."""

    group: List[str]
    code: int
    output: str
    counts: "Counter[str]"


def groups(root: Path = TESTS) -> List[List[str]]:
    """Return the paths that are tested together: a folder, or what stands beside the folders.

    Files named in `LONGEST` are groups of their own.
    """
    folders = [path.parent.name for path in root.glob("*/__init__.py")]
    files = sorted(path.name for path in root.glob("test_*.py"))
    alone = [name for name in files if name in LONGEST]
    together = [name for name in files if name not in LONGEST]
    singles = sorted(folders) + alone
    singles.sort(key=lambda name: LONGEST.index(name) if name in LONGEST else len(LONGEST))
    halves = [together[::2], together[1::2]]
    names = [[name] for name in singles] + [half for half in halves if half]
    return [[str(root / name) for name in group] for group in names]


def run(group: List[str], options: List[str]) -> Outcome:
    """Run pytest on a group of paths in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *options, *group]
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        return Outcome(group, ended.returncode, ended.stdout, counted(report))


def counted(report: Path) -> "Counter[str]":
    """Return how many tests had which result, from pytest's report; none if it wrote none."""
    if not report.is_file():
        return Counter()
    counts: Counter[str] = Counter()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        others = {name: int(suite.get(name, 0)) for name in ("failures", "errors", "skipped")}
        counts.update(others, passed=int(suite.get("tests", 0)) - sum(others.values()))
    return counts


def main(arguments: Optional[List[str]] = None, root: Path = TESTS) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument(
        "--processes", type=int, default=usable_cores(), help="one a core if not given"
    )
    known, options = parser.parse_known_args(arguments)
    # A process a core: more threads than that would wait for each other.
    if known.processes > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    began, failed, total = monotonic(), [], Counter[str]()
    with ThreadPoolExecutor(known.processes) as pool:
        running = [pool.submit(run, group, options) for group in groups(root)]
        for outcome in (future.result() for future in as_completed(running)):
            names = " ".join(os.path.relpath(path) for path in outcome.group)
            print(f"\n##### {names}\n{outcome.output}", flush=True)
            total += outcome.counts
            if outcome.code not in (0, NO_TESTS):
                failed.append(f"{names} (exit code {outcome.code})")
    for line in failed:
        print(f"FAILED {line}")
    summary = ", ".join(f"{count} {name}" for name, count in sorted(total.items()))
    print(f"===== {summary} in {monotonic() - began:.0f} s =====")
    return 1 if failed or not total["passed"] else 0


if __name__ == "__main__":
    # A shell starts background jobs with interrupts ignored, which tests of interrupts would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
