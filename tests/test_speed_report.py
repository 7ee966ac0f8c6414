"""The README's table of speeds is made from the reports of the benchmark."""

import copy

from benchmarks.sections import README
from benchmarks.speed import report

REPORTS = report.load()


def test_readme_is_generated_from_the_numbers() -> None:
    marked = report.MARKED.search(README.read_text(encoding="utf-8"))
    assert marked and marked[0] == marked[1] + report.section(REPORTS) + marked[2]


def test_other_numbers_give_another_table() -> None:
    changed = copy.deepcopy(REPORTS)
    for result in changed["sst"]["results"]:
        result["throughput"] *= 2
    assert report.section(changed) != report.section(REPORTS)
