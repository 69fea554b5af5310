"""Opens a transport as a connection does: with a nursery that ends with the stream, and errors as they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from appliance.mqtt.transport import Transport


@asynccontextmanager
async def opened(transport: Transport) -> AsyncIterator[trio.abc.Stream]:
    """Yield a stream that is open. Raises what ``open`` raises, and what the block raises, not in a group."""
    failure: Exception | None = None
    async with trio.open_nursery() as tasks:
        try:
            stream = await transport.open(tasks)
            try:
                yield stream
            finally:
                await trio.aclose_forcefully(stream)
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
            failure = error
    if failure is not None:
        raise failure


async def open_and_close(transport: Transport) -> None:
    """Open a transport, and close it at once."""
    async with opened(transport):
        pass
