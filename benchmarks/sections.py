"""The generated sections of the README, between `<!-- NAME -->` and `<!-- end of NAME -->`."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def section_pattern(name: str) -> "re.Pattern[str]":
    """Matches a section: its first group is the opening mark, its second the closing one."""
    return re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", flags=re.DOTALL)


def put_section(marked: "re.Pattern[str]", content: str, readme: Path = README) -> None:
    """Replace what stands between the marks."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(marked.sub(lambda m: m[1] + content + m[2], text), encoding="utf-8")
