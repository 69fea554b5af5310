"""The state of a client's connection as a value, and its counters."""

from dataclasses import dataclass
from enum import Enum

import trio
from mqtt5 import ConnAckPacket

from appliance.mqtt.errors import DisconnectedError


class LinkState(Enum):
    """The states of a connection."""

    DOWN = "down"
    CONNECTED = "connected"  # accepted, subscriptions not all granted yet
    READY = "ready"  # every subscription is granted on this connection
    TAKEN_OVER = "taken over"  # another client uses our identifier; we come back after delays that grow
    CLOSED = "closed"  # the client was not entered yet, or was left


@dataclass(frozen=True, slots=True)
class Link:
    """A snapshot of the connection. ``detail`` says why it is down; ``generation`` counts connections from 1."""

    state: LinkState = LinkState.DOWN
    generation: int = 0
    session_present: bool = False
    connack: ConnAckPacket | None = None
    detail: str = "not connected yet"

    @property
    def up(self) -> bool:
        """Whether the broker has accepted us and nothing has ended that."""
        return self.state in {LinkState.CONNECTED, LinkState.READY}

    @property
    def trouble(self) -> str | None:
        """Why messages do not come, for people; None when they do."""
        if self.state is LinkState.READY:
            return None
        if self.state is LinkState.CONNECTED:
            return "the broker has not granted our subscription"
        return self.detail or self.state.value


class LinkBoard:
    """The current link, and a way to wait for the next."""

    def __init__(self, endpoint: str) -> None:
        self.link = Link(LinkState.CLOSED, detail="the client is not entered, which `async with` does")
        self._endpoint = endpoint
        self._waiters = trio.lowlevel.ParkingLot()

    def post(self, link: Link) -> None:
        """Publish a new link."""
        self.link = link
        self.stir()

    def stir(self) -> None:
        """Wake all waiting tasks to check again."""
        self._waiters.unpark_all()

    async def changed(self) -> None:
        """Wait for the next ``post`` or ``stir``. Raises DisconnectedError when there is nothing to wait for."""
        self.check_open()
        await self._waiters.park()

    async def wait_for(self, *states: LinkState) -> Link:
        """Wait for one of these states. Raises DisconnectedError when it will not come."""
        await trio.lowlevel.checkpoint()
        while self.link.state not in states:
            await self.changed()
        return self.link

    def check_open(self) -> None:
        """Raise DisconnectedError when the connection is closed for good."""
        if self.link.state is LinkState.CLOSED:
            raise self.lost()

    def lost(self) -> DisconnectedError:
        """Return the error for a call on a closed client."""
        return DisconnectedError(f"no connection to the MQTT broker at {self._endpoint}: {self.link.detail}")


class LinkChanges:
    """Iterates over the link now and after each change; a slow consumer sees only the newest. Ends after CLOSED."""

    def __init__(self, board: LinkBoard) -> None:
        self._board = board
        self._seen: Link | None = None  # the last one handed out

    def __aiter__(self) -> "LinkChanges":
        return self

    async def __anext__(self) -> Link:
        await trio.lowlevel.checkpoint()
        while self._board.link is self._seen:
            if self._board.link.state is LinkState.CLOSED:
                raise StopAsyncIteration
            await self._board.changed()
        self._seen = self._board.link
        return self._seen


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the client was entered; ``waiting`` and ``unacknowledged`` are current."""

    connections: int
    taken_over: int  # connections that ended because another client used our identifier
    received: int
    published: int
    pubacks: int  # sent
    stale: int  # messages whose acknowledgement was dropped because their connection was lost
    dropped: int  # QoS 0 messages that came faster than they were taken
    forgotten: int  # taken off the queue unseen after a resumption, since the broker sends them again
    unsolicited: int  # acknowledgements from the broker that answered nothing
    overruns: int  # chunks after which the broker had sent more than the receive maximum allows
    waiting: int
    unacknowledged: int  # of our own publishes
