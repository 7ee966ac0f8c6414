"""Answer with the pages that people look at, and with the OpenAPI document."""

import functools
from html import escape
from importlib.resources import files
from typing import Any, Dict, List

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sledgehammer._serving.encoding import json_response
from sledgehammer._serving.openapi import document
from sledgehammer._serving.problems import Problem

_POLICY = "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "

_SNIFFING = {"X-Content-Type-Options": "nosniff"}

HOME_HEADERS = {
    "Content-Security-Policy": f"{_POLICY}script-src 'self'; style-src 'self'; connect-src 'self'",
    **_SNIFFING,
}
"""Browsers let the page ask this server, and nobody else."""

DOCS_HEADERS = {"Content-Security-Policy": f"{_POLICY}style-src 'unsafe-inline'", **_SNIFFING}

PAGE = "page.html"

PARTS = {
    "page.css": "text/css",
    **dict.fromkeys(
        ("charts.js", "file.js", "shared.js", "tables.js", "texts.js"), "text/javascript"
    ),
}
"""The media types of the files that the page loads, which lie beside it."""


async def home_page(request: Request) -> Response:
    """Answer with the page on which to try the models."""
    return Response(_file(PAGE), headers=HOME_HEADERS, media_type="text/html")


async def page_part(request: Request) -> Response:
    """Answer with a file that the page loads."""
    name = request.path_params["file"]
    if name not in PARTS:
        raise Problem(404, f"the page has no part {name!r:.80}")
    return Response(_file(name), headers=_SNIFFING, media_type=PARTS[name])


async def docs_page(request: Request) -> Response:
    """Answer with the OpenAPI document as a page to read."""
    return Response(_docs(), headers=DOCS_HEADERS, media_type="text/html")


async def openapi_document(request: Request) -> Response:
    """Answer with the OpenAPI document."""
    return json_response(document())


@functools.cache
def _file(name: str) -> bytes:
    return files("sledgehammer._serving").joinpath("page").joinpath(name).read_bytes()


@functools.lru_cache(maxsize=1)
def _docs() -> str:
    described = document()
    sections: List[str] = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            sections.append(_section(path, method, operation))
    return DOCS.format(title=escape(described["info"]["title"]), sections="\n".join(sections))


def _section(path: str, method: str, operation: Dict[str, Any]) -> str:
    parts = [
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>",
        f"<p>{escape(operation['summary'])}</p>",
    ]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(_example(f"Request, {media}", content))
    for status, response in operation["responses"].items():
        parts.append(f"<p>{status}: {escape(response['description'])}</p>")
        for media, content in response.get("content", {}).items():
            parts.append(_example(media, content))
    return "\n".join(parts)


def _example(title: str, content: Dict[str, Any]) -> str:
    if "example" not in content:
        return ""
    example = content["example"]
    if not isinstance(example, str):
        example = msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
    return f"<p>{escape(title)}:</p><pre>{escape(example)}</pre>"


DOCS = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 1.5rem auto; padding: 0 1rem; }}
h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
pre {{ overflow: auto; padding: .6rem; border: 1px solid #8888; border-radius: .3rem; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>The same as <a href="/openapi.json">openapi.json</a>. <a href="/">Try the models</a>.</p>
{sections}
</main>
</body>
</html>
"""
