"""Waiting for what tells nobody when it happens: files and processes of others."""

from collections.abc import Callable

import trio


async def until(condition: Callable[[], bool], *, period: float) -> None:
    """Return when ``condition`` holds, looking every ``period`` seconds. Deadlines are the caller's scopes."""
    while True:
        if condition():
            return
        await trio.sleep(period)
