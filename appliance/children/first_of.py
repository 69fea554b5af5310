"""Waits for the first of several events."""

from collections.abc import Awaitable, Callable

import trio


async def first_of(*waits: Callable[[], Awaitable[None]]) -> None:
    """Return when the first of ``waits`` returns; the others are cancelled."""
    async with trio.open_nursery() as nursery:

        async def wait_for_event(wait: Callable[[], Awaitable[None]]) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(wait_for_event, wait)
