"""Read and write JSON: quickly, and what the quick way can't, slowly."""

import json
from typing import Any, NoReturn

import msgspec
from starlette.responses import Response

from sledgehammer.support.jsonl import is_deep


def decoded(body: bytes) -> Any:
    """Return the value of a JSON text.

    Lone surrogates are let through, so that only the text which has one is refused.

    # Raises

    `ValueError` if it is not JSON, or nested too deeply.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if b"\\u" not in body:
            raise ValueError(f"{error!s:.200}") from error
    try:
        value = json.loads(body, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None
    if is_deep(value):
        raise ValueError("lists or objects are nested too deeply")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def encoded(value: Any) -> bytes:
    """Return a value as JSON. It may hold what a client sent, such as a number of many digits."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError, ValueError):
        return json.dumps(value).encode()


def json_response(value: Any) -> Response:
    """Return the response with a value as JSON."""
    return Response(encoded(value), media_type="application/json")
