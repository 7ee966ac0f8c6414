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

POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
"""What browsers let the pages do: ask this server, and nobody else."""

HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}


async def home_page(request: Request) -> Response:
    """Answer with the page on which to try the models."""
    return Response(_home(), headers=HEADERS, media_type="text/html")


async def docs_page(request: Request) -> Response:
    """Answer with the OpenAPI document as a page to read."""
    return Response(_docs(), headers=HEADERS, media_type="text/html")


async def openapi_document(request: Request) -> Response:
    """Answer with the OpenAPI document."""
    return json_response(document())


@functools.lru_cache(maxsize=1)
def _home() -> bytes:
    return files("sledgehammer._serving").joinpath("page.html").read_bytes()


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
