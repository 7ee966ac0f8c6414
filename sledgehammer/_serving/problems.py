"""Say what is wrong with a request, as RFC 9457 has it: `application/problem+json`."""

from http import HTTPStatus
from typing import Any, Dict, Optional

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Refuse a request.

    # Parameters

    status : `int`
        The HTTP status.
    detail : `str`
        What is wrong, and what would be right.
    field : `str`, optional
        The field that is wrong, as in `input[3].threshold`.
    headers : `Dict[str, str]`, optional
    """

    def __init__(
        self,
        status: int,
        detail: str,
        field: Optional[str] = None,
        headers: Optional[Dict[str, str]] = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.headers = headers or {}

    def content(self) -> Dict[str, Any]:
        """Return the members of the response's JSON object."""
        title = HTTPStatus(self.status).phrase
        content = {"type": "about:blank", "title": title, "status": self.status}
        content["detail"] = self.detail
        return content if self.field is None else {**content, "field": self.field}

    def response(self) -> Response:
        """Return the response that tells of it."""
        body = msgspec.json.encode(self.content())
        return Response(body, self.status, self.headers, MEDIA_TYPE)
