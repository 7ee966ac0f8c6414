"""A file on the page, and its live charts, in a real browser."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.serving.servers import TEXT, Remote, httpx
from tests.serving.test_page import clean, found, wait_for

CSV = (
    "\ufeffnumber,review,label\r\n"
    f'1,"{TEXT}, and ""more""",positive\r\n'
    "2,too few\r\n"
    '3,"two\nlines",\r\n'
    "\r\n"
    f"4,{'long ' * 21_000},x\r\n"
)
JSONL = (
    f'{json.dumps({"text": TEXT, "id": 7, "label": "x"})}\nnot JSON\n{{"text": 3}}\n"a string"\n'
)

DROP = """
const transfer = new DataTransfer();
transfer.items.add(new File([arguments[1]], arguments[0]));
for (const name of ["dragover", "drop"])
  document.getElementById("drop").dispatchEvent(
    new DragEvent(name, {bubbles: true, cancelable: true, dataTransfer: transfer}));
"""


def by_id(browser: Any, name: str) -> Any:
    return found(browser, f"#{name}")[0]


@pytest.fixture
def page(browser: Any, remote: Remote, tmp_path: Path) -> Any:
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    browser.get(remote.url)
    found(browser, "#model option")
    return browser


def classified(browser: Any) -> str:
    """Press the button by the keyboard, and return what is said once all rows are answered."""
    from selenium.webdriver.common.keys import Keys

    wait_for(browser, by_id(browser, "start").is_enabled)
    by_id(browser, "start").send_keys(Keys.ENTER)
    wait_for(browser, by_id(browser, "results").is_displayed)
    return str(by_id(browser, "file-status").text)


def downloaded(browser: Any, folder: Path, button: str, name: str) -> str:
    by_id(browser, button).click()
    wait_for(browser, (folder / name).is_file)
    return (folder / name).read_bytes().decode()


def test_a_csv_file_with_a_column_of_choice(page: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(CSV, newline="")
    by_id(page, "file").send_keys(str(tmp_path / "mine.csv"))
    column = by_id(page, "column-0")
    assert column.accessible_name == "Column of the text"
    assert column.get_attribute("value") == "review", "the usual name is chosen first"
    assert classified(page) == "4 of 4 rows answered, 2 with an error."
    assert by_id(page, "progress").get_attribute("value") == "4"
    written = downloaded(page, tmp_path, "as-csv", "mine.answers.csv")
    rows: List[Dict[str, Any]] = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4"], "in the order of the file"
    assert rows[0]["review"] == f'{TEXT}, and "more"' and rows[2]["review"] == "two\nlines"
    assert rows[0]["label"] == "positive", "the file's own column keeps its name"
    assert rows[0]["answered_label"] in ("positive", "negative") and rows[0]["error"] == ""
    assert rows[1]["error"] == "the row should have 3 cells, and has 2"
    assert "at most 100000" in rows[3]["error"] and rows[3]["answered_label"] == ""
    from selenium.webdriver.support.ui import Select

    Select(column).select_by_visible_text("label")
    assert classified(page).startswith("4 of 4 rows answered, 1 with"), "the column makes the text"
    assert clean(page)


def test_json_lines_and_lines_that_are_dropped(page: Any, tmp_path: Path) -> None:
    page.execute_script(DROP, "some.jsonl", JSONL)
    assert classified(page) == "4 of 4 rows answered, 2 with an error."
    assert [item.text for item in found(page, "#bad li")] == [
        "row 2: the line is not JSON",
        "row 3: no text in column text",
    ]
    lines = downloaded(page, tmp_path, "as-jsonl", "some.answers.jsonl").splitlines()
    first, second, third, fourth = map(json.loads, lines)
    assert (first["id"], first["label"], first["text"]) == (7, "x", TEXT)
    assert 0 < first["confidence"] <= 1 and set(first["probs"]) == {"positive", "negative"}
    assert second == {"line": "not JSON", "error": "the line is not JSON"}
    assert third == {"text": 3, "error": "no text in column text"}
    assert fourth["text"] == "a string" and fourth["answered_label"] in ("positive", "negative")

    # More rows than one request takes; each is answered, in its place.
    page.execute_script(DROP, "many.txt", "".join(f"row {n}\n" for n in range(700)))
    assert classified(page) == "700 of 700 rows answered, 0 with an error."
    assert by_id(page, "columns").is_displayed() is False
    lines = downloaded(page, tmp_path, "as-jsonl", "many.answers.jsonl").splitlines()
    assert [json.loads(line)["text"] for line in lines] == [f"row {n}" for n in range(700)]

    page.execute_script(DROP, "picture.png", "x")
    wait_for(page, lambda: "must be .txt" in by_id(page, "file-status").text)
    assert not by_id(page, "start").is_enabled()


def test_charts_follow_the_server(page: Any, remote: Remote) -> None:
    for threshold, exit in ((0.0, "layer 0"), (1.0, "layer 3")):
        request = {"input": [TEXT] * 30, "threshold": threshold}
        before = by_id(page, "exits-chart").get_attribute("aria-label")
        wait_for(page, lambda: "texts in the last" in by_id(page, "live-text").text)
        assert httpx.post(f"{remote.url}/v1/classify", json=request).status_code == 200
        wait_for(page, lambda: by_id(page, "exits-chart").get_attribute("aria-label") != before)  # noqa: B023
        shares = by_id(page, "exits-chart").get_attribute("aria-label")
        wanted = {"layer 0": "100.0 %"} if exit == "layer 0" else {exit: "50.0 %"}
        assert all(f"{name}: {share}" in shares for name, share in wanted.items()), shares
    latency = by_id(page, "latency-chart").get_attribute("aria-label")
    assert re.fullmatch(
        r"Half of the texts took at most [\d.]+ ms, 95 % at most [\d.]+ ms", latency
    )
    assert found(page, "#latency-chart .slowest") and clean(page)


def test_nothing_moves_for_those_who_do_not_like_it(browser: Any, remote: Remote) -> None:
    feature = {"name": "prefers-reduced-motion", "value": "reduce"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(remote.url)
    found(browser, "#model option")
    button = by_id(browser, "follow")
    assert button.get_attribute("aria-pressed") == "false"
    assert "Nothing moves" in by_id(browser, "live-text").text
    button.click()
    wait_for(browser, lambda: "texts in the last" in by_id(browser, "live-text").text)
    (style,) = found(browser, ".share")[:1]
    assert button.get_attribute("aria-pressed") == "true"
    assert style.value_of_css_property("transition-duration") == "0s"
