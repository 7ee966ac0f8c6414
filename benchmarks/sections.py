"""Replace the generated sections of the manual, between `<!-- NAME -->` and `<!-- end of NAME -->`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "results"
"""Holds a page for each set of measurements, and a folder with its JSON and pictures."""


def section_pattern(name: str) -> "re.Pattern[str]":
    """Return what matches a section: its first group is the opening mark, its second the closing one."""
    return re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", flags=re.DOTALL)


def put_section(marked: "re.Pattern[str]", content: str, page: Path) -> None:
    """Replace what stands between the marks of `page`."""
    text = page.read_text(encoding="utf-8")
    page.write_text(marked.sub(lambda m: m[1] + content + m[2], text), encoding="utf-8")


def stands_in(marked: "re.Pattern[str]", content: str, page: Path) -> bool:
    """Return whether `page` has exactly this content between the marks."""
    found = marked.search(page.read_text(encoding="utf-8"))
    return found is not None and found[0] == found[1] + content + found[2]
