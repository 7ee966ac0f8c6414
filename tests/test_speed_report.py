"""The tables of speeds, and the README's headline, are made from the benchmark's reports."""

import copy

import pytest

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
        ratios = {rival: [7.0, 6.0, 8.0] for rival in result["throughput_ratios"]}
        result["throughput_ratios"] = ratios
    assert "**7.0 times faster** (quartiles 6.0 to 8.0)" in report.headline(changed)
    assert "accuracy, where all layers give" in report.headline(changed)


def test_the_mean_leads_and_stands_beside_the_percentiles() -> None:
    header, _, first, *_ = report.section(REPORTS).splitlines()
    cells = [cell.strip() for cell in first.split("|")]
    names = [cell.strip() for cell in header.split("|")]
    at = names.index("mean of single texts (ms)")
    assert names[at + 1 : at + 4] == ["p50", "p95", "p99"]
    single = report._result(REPORTS["sst"], next(iter(REPORTS["sst"]["answers"])), 1)
    assert float(cells[at]) == pytest.approx(1000 / single["throughput"], abs=0.01)
    assert float(cells[at]) > float(cells[at + 1]), "half of SST leaves at the first exit"
