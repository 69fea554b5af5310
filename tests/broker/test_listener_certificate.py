"""The certificate of the devices' listener is handed to the broker: when, and what is tried again."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import trio
import trio.testing

from appliance.broker.listener_certificate import ListenerCertificate
from appliance.children.mosquitto import Mosquitto


class Broker:
    """A Mosquitto that takes note, with a session of the appliance and a disk that come and go."""

    def __init__(self) -> None:
        self.certificate = b"first"
        self.offered = b"first"
        self.connected = trio.Event()
        self.full = False
        self.alive = True
        self.reloads: list[bytes] = []

    async def write(self, *, certificate: bytes) -> None:
        """Write it for the broker, unless the disk is full."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.certificate = certificate

    async def reload(self) -> bool:
        """Have the broker read its file, if it lives."""
        if self.alive:
            self.reloads.append(self.certificate)
        return self.alive


@asynccontextmanager
async def followed(broker: Broker) -> AsyncIterator[ListenerCertificate]:
    """The service, running; it has looked once."""
    listener = ListenerCertificate(cast("Mosquitto", broker), lambda: broker.offered)

    async def session_ready() -> None:
        await broker.connected.wait()

    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run, session_ready)
        yield listener
        nursery.cancel_scope.cancel()


async def reloads(broker: Broker, expected: list[bytes]) -> None:
    """Return once the broker has been made to read these."""
    with trio.fail_after(30):
        while broker.reloads != expected:
            await trio.sleep(0.01)


async def test_the_broker_reads_it_only_while_our_session_is_connected() -> None:
    broker = Broker()
    async with followed(broker) as listener:
        broker.offered = b"second"
        listener.changed()
        with trio.fail_after(30):
            while broker.certificate != b"second":
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked()
        assert broker.reloads == [], "a reload now would take the rights of the session that waits in the store"
        broker.connected.set()
        await reloads(broker, [b"second"])


async def test_what_could_not_be_written_or_read_is_tried_again_and_what_is_known_is_not() -> None:
    broker = Broker()
    broker.connected.set()
    broker.full, broker.alive = True, False
    async with followed(broker) as listener:
        broker.offered = b"second"
        listener.changed()
        await trio.testing.wait_all_tasks_blocked()
        broker.full = False
        with trio.fail_after(30):
            while broker.certificate != b"second":
                await trio.sleep(0.01)
        broker.alive = True
        await reloads(broker, [b"second"])
        listener.changed()
        broker.offered = b"third"
        listener.changed()
        await reloads(broker, [b"second", b"third"])
