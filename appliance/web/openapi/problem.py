"""``application/problem+json`` (RFC 9457): the one form in which the API tells of an error."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Response

PROGRAMS = ("/customer/", "/operator/", "/ingest/")
"""Paths whose callers are programs: their errors are problems, not pages."""


def is_for_programs(path: str) -> bool:
    """Whether whoever asks there reads JSON."""
    return path.startswith(PROGRAMS) or path == "/openapi.json"


def problem(
    status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """An error response. ``code`` is the reason for programs, ``detail`` for people; ``members`` are added."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "code": code, "detail": detail}
    response = Response(
        msgspec.json.encode(body | members), status=status.value, content_type="application/problem+json"
    )
    response.headers.extend(headers or {})
    return response
