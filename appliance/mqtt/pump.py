"""Move bytes between a stream and a session until the connection ends, and return why it did."""

import contextlib
import math
from collections.abc import Callable

import trio
from mqtt5 import DisconnectReasonCode

from appliance.mqtt.events import ConnectRefused, Ending, Event, KeepAliveExpired, PeerDisconnected, ProtocolFailure
from appliance.mqtt.outcomes import StreamLost
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from appliance.mqtt.transport import BROKEN
from appliance.mqtt.transport.causes import CLOSED, reason
from appliance.mqtt.transport.tls import free

CHUNK_BYTES = 65536
DISCONNECT_SECONDS = 1.0
LAST_WORDS_SECONDS = 1.0
"""Seconds for which to read on when nothing can be written any more: what the broker said before it closed."""
UNANSWERED = " without an answer: does it speak MQTT 5 on this port, or only 3.1.1?"
WRITE_BYTES = 65536
"""Bytes of one write, which the broker has to take within the time after which its silence would end the connection."""

MAX_READ_DELAY = 0.005
MIN_READ_DELAY = 0.00025
"""Seconds for which to leave bytes with the kernel while earlier messages still wait: a broker writes messages one by
one, and a chunk of some hundred costs half the processor time of as many small ones. No message waits longer for it."""
WANTED_BYTES = 24_576
"""Chunks are kept between half of this and this. A Unix socket holds only half as much again of small messages: its
200 KiB are mostly overhead of the kernel. While it is full, the broker waits for us."""


def next_delay(seconds: float, size: int) -> float:
    """Return how long to leave bytes with the kernel after ``seconds`` of it brought a chunk of ``size`` bytes."""
    if size > WANTED_BYTES:
        return max(seconds / 2, MIN_READ_DELAY)
    if size < WANTED_BYTES // 2:
        return min(seconds * 2, MAX_READ_DELAY)
    return seconds


class Pump:
    """Serves one connection. ``handle`` gets the events of each chunk; it is synchronous and must not raise.

    ``busy`` returns whether earlier messages still wait, so that reading more is not urgent.
    """

    def __init__(self, session: Session, handle: Callable[[list[Event]], None], busy: Callable[[], bool]) -> None:
        self._session = session
        self._handle = handle
        self._busy = busy
        self._asked = 0  # calls of wake()
        self._done = 0  # calls whose bytes are with the kernel
        self._torn = False  # a write was cut off: nothing valid can follow it
        self._over = True
        self._writer = trio.lowlevel.ParkingLot()
        self._flushed = trio.lowlevel.ParkingLot()
        self._acknowledged = trio.lowlevel.ParkingLot()  # where a paused reader waits
        self._scope = trio.CancelScope()
        self._goodbye = DisconnectReasonCode.NORMAL_DISCONNECTION
        self._dropped = StreamLost("dropped on our side")

    async def run(self, stream: trio.abc.Stream, connack_deadline: float) -> Ending | StreamLost:
        """Connect the session over the stream and serve it to the end; always closes the stream.

        When cancelled, or after ``drop``, sends DISCONNECT with 0x00, or 0x04 after ``leave_with_will``: the session
        stays.
        """
        ending: Ending | StreamLost | None = None
        self._over = False
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._session.connect(trio.current_time())
                    self.wake()
                    nursery.start_soon(self._write, stream)
                    ending = await self._read(stream, connack_deadline)
                    nursery.cancel_scope.cancel()
        finally:
            try:
                if not isinstance(ending, ConnectRefused | PeerDisconnected | KeepAliveExpired):
                    await self._disconnect(stream)
            finally:  # an interrupt may come there: a WebSocket whose stream stays open would never let us end
                self._over = True
                self._flushed.unpark_all()
                with trio.CancelScope(shield=True):  # else Cancelled would take the place of what was raised
                    await trio.aclose_forcefully(stream)
                free(stream)
        return ending or self._dropped

    def wake(self) -> None:
        """Wake the writer: the session has something to send."""
        self._asked += 1
        self._writer.unpark()
        self._acknowledged.unpark()

    async def flushed(self) -> None:
        """Return once all that was queued before this call is with the kernel, or the connection is over."""
        ticket = self._asked
        await trio.lowlevel.checkpoint()
        while self._done < ticket and not self._over:
            await self._flushed.park()

    def leave_with_will(self) -> None:
        """Have the broker publish our will when we disconnect (MQTT 5 §3.14.2.1)."""
        self._goodbye = DisconnectReasonCode.DISCONNECT_WITH_WILL_MESSAGE

    def drop(self) -> None:
        """End the connection from our side."""
        self._scope.cancel()

    async def _write(self, stream: trio.abc.Stream) -> None:
        try:
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()  # before taking bytes that would not be sent
                ticket = self._asked
                data = self._session.data_to_send(trio.current_time())
                if data:
                    await self._send(stream, data)
                self._done = ticket
                self._flushed.unpark_all()
                self._acknowledged.unpark()
                while self._asked == ticket:
                    await self._writer.park()
        except trio.TooSlowError:
            self._give_up(0.0, f"the broker reads nothing for {self._session.keep_alive.patience:g} s")
        except BROKEN as error:  # the reader notices as well, and has read what the broker sent before
            self._give_up(LAST_WORDS_SECONDS, reason(error))

    def _give_up(self, seconds: float, why: str) -> None:
        """End the connection after so many seconds, unless it ends before."""
        self._dropped = StreamLost(why)
        self._scope.deadline = trio.current_time() + seconds

    async def _send(self, stream: trio.abc.Stream, data: bytes) -> None:
        self._torn = True
        for start in range(0, len(data), WRITE_BYTES):
            with trio.fail_after(self._session.keep_alive.patience):
                await stream.send_all(data if len(data) <= WRITE_BYTES else data[start : start + WRITE_BYTES])
        self._torn = False

    async def _read(self, stream: trio.abc.Stream, connack_deadline: float) -> Ending | StreamLost:
        session = self._session
        delay = MAX_READ_DELAY
        while True:
            if session.overrun or session.backed_up:
                await self._pause()
            connecting = session.state is State.CONNECTING
            deadline = connack_deadline if connecting else math.inf
            data: bytes | None = None
            with trio.CancelScope(deadline=min(deadline, session.next_deadline())):
                try:
                    data = bytes(await stream.receive_some(CHUNK_BYTES))
                except BROKEN as error:
                    reset = connecting and isinstance(error.__cause__, ConnectionError)
                    return StreamLost(reason(error) + (UNANSWERED if reset else ""), error)
            now = trio.current_time()
            if data == b"":
                return StreamLost(CLOSED + (UNANSWERED if connecting else ""))
            if data is None and now >= deadline:
                return StreamLost("the broker did not answer CONNECT in time")
            ending = self._react(session.tick(now) if data is None else session.receive_data(data, now))
            if ending is not None:
                return ending
            if data is not None and len(data) < CHUNK_BYTES and self._busy():
                delay = next_delay(delay, len(data))
                await trio.sleep(delay)

    async def _pause(self) -> None:
        """Read no further until enough is acknowledged, and acknowledgements are taken; pings go on.

        Mosquitto (2.0.11 at least, its issue 2301) sends two messages for each PUBACK while it has a backlog, whatever
        the receive maximum: without this the backlog would end up in our memory.
        """
        while self._session.overrun or self._session.backed_up:
            with trio.CancelScope(deadline=self._session.next_deadline()):
                await self._acknowledged.park()
            self._session.unheard(trio.current_time())
            if self._session.has_output:
                self.wake()

    def _react(self, events: list[Event]) -> Ending | None:
        if self._session.has_output:
            self.wake()
        if events:
            self._handle(events)
            if isinstance(events[-1], ConnectRefused | PeerDisconnected | ProtocolFailure | KeepAliveExpired):
                return events[-1]
        return None

    async def _disconnect(self, stream: trio.abc.Stream) -> None:
        """Send the last bytes - acknowledgements and DISCONNECT - within a second, even when cancelled.

        Then read until the broker closes: a close with unread bytes is a TCP reset, which may overtake what we sent.
        """
        self._session.disconnect(self._goodbye)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + DISCONNECT_SECONDS):
            data = self._session.data_to_send(trio.current_time())
            if data and not self._torn:
                with contextlib.suppress(*BROKEN):
                    await stream.send_all(data)
                    while await stream.receive_some(CHUNK_BYTES):
                        pass
