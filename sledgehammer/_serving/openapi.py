"""Hold the description of the HTTP interface."""

import functools
import json
from importlib.resources import files
from typing import Any, Dict

from sledgehammer import __version__


@functools.lru_cache(maxsize=1)
def document() -> Dict[str, Any]:
    """Return the OpenAPI document."""
    text = files("sledgehammer._serving").joinpath("openapi.json").read_text(encoding="utf-8")
    content = json.loads(text)
    content["info"]["version"] = __version__
    return content
