"""Puts files of the repository that lie outside of docs/ into pages, when the site is built."""

import re
from pathlib import Path
from typing import Any


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Replace `<!-- file: NAME -->` by the file of that name at the top of the repository."""
    top = Path(config["config_file_path"]).parent
    return re.sub(
        r"<!-- file: ([\w.]+) -->",
        lambda match: (top / match[1]).read_text(encoding="utf-8"),
        markdown,
    )
