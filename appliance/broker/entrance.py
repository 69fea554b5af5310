"""The way of our durable session to an external broker: closed until nobody else was found there.

A broker that has kept our session sends what it holds as soon as we connect. So the connection waits until the question
who else is on the broker was asked, also where the broker comes long after our start.
"""

from typing import Protocol

import trio

from appliance.mqtt.transport import Transport

WAIT_SECONDS = 8.0
"""Seconds that one try waits for the entrance, below the deadline of a connection: as soon as it opens, we connect."""
LOOK_SECONDS = 0.1
"""Seconds after which a try looks whether the question waits for something else, which is told by failing."""


class Question(Protocol):
    """The question who else is on the broker."""

    @property
    def asked(self) -> trio.Event:
        """Set when nobody else was found."""
        ...

    @property
    def waits_for(self) -> str:
        """What it waits for, for people, while ``asked`` is not set."""
        ...


class Entrance:
    """A transport that opens nothing before the question was asked."""

    def __init__(self, transport: Transport, question: Question) -> None:
        self._transport = transport
        self._question = question
        self._told: str | None = None

    @property
    def name(self) -> str:
        """The endpoint as people write it."""
        return self._transport.name

    async def open(self, tasks: trio.Nursery) -> trio.abc.Stream:
        """Return a new stream. Raises OSError with what the question waits for, or as the transport does."""
        asked = self._question.asked
        with trio.move_on_after(WAIT_SECONDS):
            while not asked.is_set() and self._question.waits_for == self._told:
                with trio.move_on_after(LOOK_SECONDS):
                    await asked.wait()
        if not asked.is_set():
            self._told = self._question.waits_for
            raise OSError(self._told)
        return await self._transport.open(tasks)
