"""The tables of speeds, and the README's headline, are made from the benchmark's reports."""

import copy

from benchmarks.sections import README, stands_in
from benchmarks.speed import report

REPORTS = report.load()


def test_page_and_headline_are_generated_from_the_numbers() -> None:
    assert stands_in(report.MARKED, report.section(REPORTS), report.PAGE)
    assert stands_in(report.HEADLINE, report.headline(REPORTS["ag_news"]), README)


def test_other_numbers_give_another_table() -> None:
    changed = copy.deepcopy(REPORTS)
    for result in changed["sst"]["results"]:
        result["throughput"] *= 2
    assert report.section(changed) != report.section(REPORTS)


def test_headline_names_the_rival_and_what_the_speed_costs() -> None:
    changed = copy.deepcopy(REPORTS["ag_news"])
    for result in changed["results"]:
        result["latency_ratios"] = {rival: [7.0, 6.0, 8.0] for rival in result["latency_ratios"]}
    assert "**7.0 times faster** (quartiles 6.0 to 8.0)" in report.headline(changed)
    assert "accuracy, where all layers give" in report.headline(changed)
