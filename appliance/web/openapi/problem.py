"""``application/problem+json`` (RFC 9457): the form of every error of the API."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Response

from appliance.web.openapi.describe import PREFIXES

CONTENT_TYPE = b"application/problem+json"


def is_for_programs(path: str) -> bool:
    """Return whether callers of this path are programs: their errors are problems, not pages."""
    return path.startswith(PREFIXES) or path == "/openapi.json"


def problem(
    status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """Return an error response. ``code`` is the reason for programs, ``detail`` for people; ``members`` are added."""
    response = Response(
        problem_body(status, code, detail, **members), status=status.value, content_type=CONTENT_TYPE.decode()
    )
    response.headers.extend(headers or {})
    return response


def problem_body(status: HTTPStatus, code: str, detail: str, **members: Any) -> bytes:
    """Return the body of an error response, for what answers before the application."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "code": code, "detail": detail}
    return msgspec.json.encode(body | members)
