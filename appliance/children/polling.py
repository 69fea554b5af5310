"""Wait by polling, for changes that notify nobody: files and processes of others."""

from collections.abc import Callable

import trio


async def until(condition: Callable[[], bool], *, period: float) -> None:
    """Return when ``condition`` holds; check it every ``period`` seconds. Deadlines are the caller's cancel scopes."""
    while True:
        if condition():
            return
        await trio.sleep(period)
