"""Replace the manual's generated sections, between `<!-- NAME -->` and `<!-- end of NAME -->`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "results"
"""The folder with a page for each set of measurements, and a folder with its JSON and pictures."""


def section_pattern(name: str) -> "re.Pattern[str]":
    """Return a pattern of a section: group 1 is its opening mark, group 2 its closing mark."""
    return re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", flags=re.DOTALL)


def put_section(marked: "re.Pattern[str]", content: str, page: Path) -> None:
    """Replace the text between the marks of `page`."""
    text = page.read_text(encoding="utf-8")
    page.write_text(marked.sub(lambda m: m[1] + content + m[2], text), encoding="utf-8")


def stands_in(marked: "re.Pattern[str]", content: str, page: Path) -> bool:
    """Return whether `page` has exactly this content between the marks."""
    match = marked.search(page.read_text(encoding="utf-8"))
    return match is not None and match[0] == match[1] + content + match[2]


def counted(number: int, thing: str) -> str:
    """Return a number of things, in the singular where there is one."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
