"""A list as a CSV file (RFC 4180), streamed while it is read: nothing large is ever in memory."""

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Any

from quart import Response, request

from appliance.errors import Invalid
from appliance.web.page import formats

CONTENT_TYPE = "text/csv; charset=utf-8"
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Without it spreadsheets take UTF-8 for the machine's own encoding."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula at the start of a text (OWASP, CSV Injection)."""


def asked_for() -> bool:
    """Whether the current request wants a list as a file: by ``?format=csv``, or programs by ``Accept: text/csv``."""
    wanted = request.args.get("format", "")
    if wanted not in {"", "csv", "json"}:
        raise Invalid("`format` is csv or json.", "format")
    return wanted == "csv" or (not wanted and _prefers_csv())


def _prefers_csv() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/csv"], "application/json") == "text/csv"


def cell(value: Any) -> str:
    """A value as a cell: numbers plain, nothing as empty, a text that looks like a formula behind an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV text."""
    out = io.StringIO()
    csv.writer(out).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


async def at_once(rows: Iterable[Sequence[Any]]) -> AsyncIterator[list[Sequence[Any]]]:
    """A short list as the one page that it is."""
    yield list(rows)


async def text(heads: Sequence[str], pages: AsyncIterable[Iterable[Sequence[Any]]]) -> AsyncIterator[str]:
    """The file, a piece a page of rows."""
    yield BOM + lines([heads])
    async for rows in pages:
        yield lines(rows)


def answer(name: str, heads: Sequence[str], pages: AsyncIterable[Iterable[Sequence[Any]]], now: float) -> Response:
    """The file ``name-DATE.csv`` as a download; ``now`` in seconds since 1970. ``pages`` is read as it is sent."""
    response = Response(text(heads, pages), content_type=CONTENT_TYPE)
    response.timeout = None  # as long as the list is
    day = formats.local(now, None).date()
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{day}.csv"'
    return response
