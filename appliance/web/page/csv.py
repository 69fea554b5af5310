"""A list as a CSV file (RFC 4180), streamed while it is read: nothing large is ever in memory."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from quart import Response, request

from appliance.csv_text import BOM, cell, lines
from appliance.db.trio_psycopg import Connection
from appliance.errors import Invalid
from appliance.web.access.auth import Viewer
from appliance.web.page import formats
from appliance.web.platform import Platform

__all__ = [
    "BOM", "CONTENT_TYPE", "PAGE_ROWS", "Page", "PageReader", "answer", "asked_for", "at_once", "cell", "each_page",
    "lines", "list_answer", "next_position", "text",
]  # fmt: skip

PAGE_ROWS = 1000
"""Rows that a download reads in one transaction."""
CONTENT_TYPE = "text/csv; charset=utf-8"


def asked_for() -> bool:
    """Return whether the current request asks for a CSV file: ``?format=csv``, or ``Accept: text/csv`` of a program."""
    wanted = request.args.get("format", "")
    if wanted not in {"", "csv", "json"}:
        raise Invalid("`format` is csv or json.", "format")
    return wanted == "csv" or (not wanted and _prefers_csv())


def _prefers_csv() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/csv"], "application/json") == "text/csv"


async def at_once(rows: Iterable[Sequence[Any]]) -> AsyncIterator[list[Sequence[Any]]]:
    """Yield a short list as its only page."""
    yield list(rows)


Row = TypeVar("Row")
Position = TypeVar("Position")
Page = tuple[Sequence[Sequence[Any]], Position | None]
"""The rows of a page, and the position after which the next one starts; None at the end."""
PageReader = Callable[[Connection[Any], Position | None], Awaitable[Page[Position]]]
"""Reads the page after a position; None asks for the first."""


def next_position(page: Sequence[Row], position: Callable[[Row], Position]) -> Position | None:
    """Return the position of the last row of a page of up to ``PAGE_ROWS`` rows, or None if the page is the last."""
    return position(page[-1]) if len(page) >= PAGE_ROWS else None


async def each_page(
    platform: Platform, who: Viewer, read: PageReader[Position]
) -> AsyncIterator[Sequence[Sequence[Any]]]:
    """Yield all pages of a list, each read in its own transaction of ``who``.

    A slow download holds neither a connection nor the list.
    """
    position: Position | None = None
    while True:
        async with platform.access.reading(who) as connection:
            rows, position = await read(connection, position)
        yield rows
        if position is None:
            return


async def text(heads: Sequence[str], pages: AsyncIterable[Iterable[Sequence[Any]]]) -> AsyncIterator[str]:
    """Yield the file: the heads, then one piece for each page of rows."""
    yield BOM + lines([heads])
    async for rows in pages:
        yield lines(rows)


def answer(name: str, heads: Sequence[str], pages: AsyncIterable[Iterable[Sequence[Any]]], now: float) -> Response:
    """Return the download ``name-DATE.csv``; ``now`` in seconds since 1970. ``pages`` is read while it is sent."""
    response = Response(text(heads, pages), content_type=CONTENT_TYPE)
    response.timeout = None  # a long list takes as long as its reader
    day = formats.local(now, None).date()
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{day}.csv"'
    return response


def list_answer(
    platform: Platform, who: Viewer, name: str, heads: Sequence[str], read: PageReader[Position]
) -> Response:
    """Return the download of a whole list as ``who`` sees it, read page by page while it is sent."""
    return answer(name, heads, each_page(platform, who, read), platform.clock.now())
