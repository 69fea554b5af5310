"""What live parts read is there in time, or not now: a page never waits for Postgres."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import ast

import psycopg
import pytest
import trio
from trio.testing import MockClock

from appliance.web.live.parts import NotNow
from appliance.web.page.live_read import POSTGRES_TIMEOUT, live_read
from tests.support.project import ROOT


async def test_what_is_read_in_time_is_there(autojump_clock: MockClock) -> None:
    with live_read():
        await trio.sleep(POSTGRES_TIMEOUT - 0.1)


async def test_what_takes_too_long_is_not_waited_for(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    with pytest.raises(NotNow), live_read():
        await trio.sleep_forever()
    assert trio.current_time() - began == pytest.approx(POSTGRES_TIMEOUT)


async def test_without_postgres_the_page_is_told_that_it_is_not_now() -> None:
    with pytest.raises(NotNow, match="connection refused"), live_read():
        raise psycopg.OperationalError("connection refused")


async def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="no ids"), live_read():
        raise ValueError("no ids")


def test_slow_numbers_of_the_navigation_keep_no_page_from_what_it_has() -> None:
    """They are left out where they take too long, which is all of the time that a page has for what it reads itself."""
    blocks = [
        (path, node)
        for path in (ROOT / "appliance" / "web").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.With) and any("live_read()" in ast.unparse(item) for item in node.items)
    ]
    assert len(blocks) >= 10
    assert [path for path, node in blocks if "live_nav_counts" in ast.unparse(node)] == []
