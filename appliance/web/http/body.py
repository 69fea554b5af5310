"""Request bodies that must keep coming: at a rate, after a grace. A peer that does not send them so is answered 408.

A deadline for the whole body would refuse a large one over a slow line, or let a small one take for ever.
"""

from collections.abc import Generator
from typing import Any

import trio
from quart_trio.wrappers.request import TrioBody, TrioRequest
from werkzeug.exceptions import RequestTimeout

from appliance.web.http.hardening import RequestLimits


class SteadyBody(TrioBody):
    """A body whose reader waits only as long as it comes at a rate. Reading raises RequestTimeout."""

    limits: RequestLimits

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._received = 0
        self._ended = False
        self._news = trio.Event()
        self._grace_until: float | None = None

    def append(self, data: bytes) -> None:
        """Take what has come."""
        super().append(data)
        if data:
            self._received += len(data)
            self._news.set()

    def set_complete(self) -> None:
        """Note that nothing more comes, or that it is refused."""
        super().set_complete()
        self._ended = True
        self._news.set()

    async def __anext__(self) -> bytes:
        """Return what has come, waiting for some."""
        await self._wait_for_news()
        return await super().__anext__()

    def __await__(self) -> Generator[Any, None, Any]:
        """Return the whole body, waiting for its end."""
        yield from self._wait_for_end().__await__()
        return (yield from super().__await__())

    async def _wait_for_end(self) -> None:
        while not self._ended:
            await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        """Wait until bytes or the end have come since the last call. Raises RequestTimeout."""
        if self._grace_until is None:  # it begins with the reading: a wait for somebody else is not the peer's
            self._grace_until = trio.current_time() + self.limits.body_grace
        with trio.move_on_at(self._grace_until + self._received / self.limits.body_rate) as scope:
            await self._news.wait()
        if scope.cancelled_caught:
            raise RequestTimeout
        if not self._ended:
            self._news = trio.Event()


def request_class(limits: RequestLimits) -> type[TrioRequest]:
    """Return the class of requests whose bodies are read within ``limits``."""
    body = type("LimitedBody", (SteadyBody,), {"limits": limits})
    return type("LimitedRequest", (TrioRequest,), {"body_class": body})
