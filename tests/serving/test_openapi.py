"""The description of the interface is what the server does."""

import re
from typing import Any, Dict, Iterator, Tuple

import pytest

from tests.serving.servers import Remote, httpx

from sledgehammer._serving.openapi import document  # isort: skip

PATHS: Dict[str, Dict[str, Any]] = document()["paths"]
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]


def bodies(operation: Dict[str, Any]) -> Iterator[Tuple[str, Any]]:
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield media, content["example"]


def send(remote: Remote, path: str, method: str, **options: Any) -> Any:
    url = remote.url + path.replace("{name}", "tiny").replace("{file}", "page.css")
    return httpx.request(method, url, timeout=30, **options)


@pytest.mark.parametrize("path, method", OPERATIONS)
def test_examples_are_answered_as_described(remote: Remote, path: str, method: str) -> None:
    operation = PATHS[path][method]
    options: Dict[str, Any] = {}
    for _, example in bodies(operation):
        options = {"content": example} if isinstance(example, str) else {"json": example}
    response = send(remote, path, method, **options)
    assert response.status_code == 200, response.text
    described = operation["responses"]["200"].get("content", {})
    for media, content in described.items():
        assert response.headers["content-type"].startswith(media)
        if media == "application/json" and "example" in content:
            assert shape(response.json()) >= shape(content["example"])


def shape(value: Any) -> Any:
    """Return the names of an object's fields, or of those of the first object of a list."""
    if isinstance(value, list):
        return shape(value[0]) if value else set()
    return set(value) if isinstance(value, dict) else set()


def test_every_route_is_described(remote: Remote, local: Any) -> None:
    guard: Any = local().server.app
    routes = {(re.sub("/versions/1", "", r.path), m) for r in guard._app.routes for m in r.methods}
    assert {(p, m.upper()) for p, m in OPERATIONS} == {(p, m) for p, m in routes if m != "HEAD"}


def test_answers_and_problems_have_their_schema(remote: Remote) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    whole = send(remote, "/openapi.json", "get").json()
    assert whole == document()

    def check(name: str, content: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": whole["components"]}
        jsonschema.Draft202012Validator(schema).validate(content)

    request = {"input": ["a", 3, {"text": "bees " * 600, "threshold": 0}]}
    check("Classification", send(remote, "/v1/classify", "post", json=request).json())
    for path, options in (("/v1/classify", {"json": {"input": 3}}), ("/nothing", {})):
        check("Problem", send(remote, path, "post", **options).json())


def test_the_page_of_docs_has_every_route(remote: Remote) -> None:
    response = send(remote, "/docs", "get")
    for path, method in OPERATIONS:
        assert f"<code>{method.upper()} {path}</code>" in response.text
    assert "<script" not in response.text and "default-src 'none'" in str(response.headers)
