"""Keeps a session connected: connect, serve, find out why it ended, wait, connect again.

Dispatches what the session reports: received messages to the inbox, answers to their waiters. Renews subscriptions
after every connect.
"""

import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import structlog
import trio
from mqtt5 import ConnAckReasonCode, DisconnectReasonCode

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.mqtt.errors import ConnectError
from appliance.mqtt.events import (
    Connected,
    ConnectRefused,
    Ending,
    Event,
    KeepAliveExpired,
    PeerDisconnected,
    ProtocolFailure,
    PubAcks,
    Publishes,
    SubAck,
    UnsubAck,
)
from appliance.mqtt.inbox import InboundBatch, Inbox
from appliance.mqtt.link import Link, LinkBoard, LinkState
from appliance.mqtt.pump import Pump, StreamLost
from appliance.mqtt.receipts import Receipts
from appliance.mqtt.session import Session
from appliance.mqtt.subscriptions import Request, Subscriptions
from appliance.mqtt.terms import Settings
from appliance.mqtt.topics import shown
from appliance.mqtt.transport import BROKEN, Transport

log = structlog.get_logger(__name__)

STABLE_SECONDS = 5.0
"""A connection that lived this many seconds was a good one: after it the delays start at the first again."""

CONTESTED_SECONDS = 10.0
"""A connection that lived this many seconds is no longer contested by another client with our identifier."""

WITHOUT_A_WORD = 5
"""Connections in a row that the broker accepted and then closed without a reason, from which on another client of our
identifier is suspected: Mosquitto 2.0 does not say when it closes one connection for another. A broker that is
restarted to open the device listener closes two at most."""

CONTEST_FACTOR = 4
"""How many times the longest delay we wait at most while another client takes our identifier again and again. No more:
if it took the session with a clean start, the broker drops what devices send until we are back."""

CONTESTED = StreamLost("the broker closes our connections again and again: another client seems to use our client id")

Outcome: TypeAlias = Ending | StreamLost


class Connection:
    """The session, its current stream, and all that outlives a stream. ``run`` is the background task, once.

    ``generation`` is the number of connections that were made before this object.
    """

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        *,
        connect_timeout: float,
        backoff: Backoff,
        clock: Clock,
        generation: int = 0,
    ) -> None:
        self.transport = transport
        self.session = Session(settings, generation)
        self.earlier = generation
        self.inbox = Inbox(bound=settings.receive_max)
        self.receipts = Receipts()
        self.subscriptions = Subscriptions()
        self.board = LinkBoard(transport.name)
        self.inbox.close(self.board.lost())  # until it runs
        self.progress = trio.lowlevel.ParkingLot()  # there may be room to publish
        self.received = 0
        self.taken_over = 0
        self._closed_in_a_row = 0
        self._durable = settings.session_expiry_interval > 0  # else two clients have no session to contend for
        self._connect_timeout = connect_timeout
        self._backoff = backoff
        self._contest = Backoff(
            backoff.maximum, maximum=CONTEST_FACTOR * backoff.maximum, jitter=backoff.jitter, random=backoff.random
        )
        self._clock = clock
        self._pump = Pump(self.session, self._handle, lambda: self.inbox.busy)
        self._at_once = False  # dropped on purpose: no delay before the next connection
        self._first: Callable[[], None] | None = None  # signals the first connection to the starter of ``run``
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            Connected: self._on_connected,
            Publishes: self._on_publishes,
            PubAcks: self._on_pubacks,
            SubAck: self._on_suback,
            UnsubAck: self._on_unsuback,
        }

    @property
    def up(self) -> bool:
        """Whether the broker has accepted us and nothing has ended that."""
        return self.board.link.up

    async def run(self, *, reconnect: bool, keep_trying: bool, task_status: trio.TaskStatus[None]) -> None:
        """Serve connection after connection; started once the first one is up, or at once with ``keep_trying``.

        Raises ConnectError when the first try fails, unless ``keep_trying``. Without ``reconnect`` it ends with
        the first connection.
        """
        self.inbox.open()
        self.board.post(Link(LinkState.DOWN, self.session.generation))
        if keep_trying:
            task_status.started()
        else:
            self._first = task_status.started
        while True:
            begun = trio.current_time()
            outcome = await self._serve(begun)
            if self._first is not None:
                code = outcome.reason_code if isinstance(outcome, ConnectRefused) else None
                raise ConnectError(self.transport.name, describe(outcome), code)
            if self.session.met and not reconnect:
                self.close(describe(outcome), broken=True)
                return
            lived = trio.current_time() - begun
            if lived >= STABLE_SECONDS:
                self._backoff.reset()
            if lived >= CONTESTED_SECONDS:
                self._contest.reset()
            delay = self._delay(outcome)
            log.warning("mqtt connection down", endpoint=self.transport.name, why=describe(outcome), retry_in=delay)
            await trio.sleep(delay)

    def close(self, detail: str, *, broken: bool = False) -> None:
        """Close for good; with ``broken``, consumers get an error instead of an end."""
        self.board.post(Link(LinkState.CLOSED, self.session.generation, detail=detail))
        self.inbox.close(self.board.lost() if broken else None)
        self.receipts.abandon()
        self.subscriptions.close()
        self.progress.unpark_all()

    def drop(self) -> None:
        """Close the connection, and connect again without delay."""
        if self.up:
            self._at_once = True
            self._pump.drop()

    def wake(self) -> None:
        """Wake the writer to send what is queued."""
        if self.session.has_output:
            self._pump.wake()

    async def flush(self) -> None:
        """Send what is queued; returns when the bytes are with the kernel or the connection has ended."""
        self.wake()
        await self._pump.flushed()

    def ask(self, request: Request) -> None:
        """Send a request now if there is a connection, else on the next, until it is answered."""
        self.subscriptions.add(request)
        self._send_requests()
        self.review()

    def abandon(self, request: Request) -> None:
        """Give a request up: its caller does not wait any more."""
        self.subscriptions.abandon(request)
        self._send_requests()
        self.review()

    def review(self) -> None:
        """Update the READY state after a change of subscriptions or answers, and wake the tasks that wait for one."""
        link = self.board.link
        if link.up:
            state = LinkState.READY if self.subscriptions.complete else LinkState.CONNECTED
            if state is not link.state:
                self.board.post(replace(link, state=state))
        self.board.stir()

    def _send_requests(self) -> None:
        while self.session.request_room and (request := self.subscriptions.next()) is not None:
            send = self.session.subscribe if request.filters else self.session.unsubscribe
            try:
                packet_id = send(request.filters or request.patterns)  # type: ignore[arg-type]
            except ValueError as objection:
                if (unheard := self.subscriptions.impossible(objection)) is not None:
                    self._log_refusal(unheard.patterns[0], str(objection))
            else:
                self.subscriptions.sent(packet_id)
        self.wake()

    def _log_refusal(self, pattern: str, why: str) -> None:
        log.error("mqtt subscription refused", endpoint=self.transport.name, filter=shown(pattern), why=why)

    async def _serve(self, begun: float) -> Outcome:
        """Serve one connection, from the first byte to the last."""
        deadline = begun + self._connect_timeout
        generation = self.session.generation
        outcome: Outcome
        try:
            with trio.fail_at(deadline):
                stream = await self.transport.open()
        except trio.TooSlowError:
            outcome = StreamLost(f"no answer within {self._connect_timeout:g} s")
        except BROKEN as error:
            outcome = StreamLost(_stream_error_text(error))
        else:
            self._pump = Pump(self.session, self._handle, lambda: self.inbox.busy)
            outcome = await self._pump.run(stream, deadline)
        accepted = self.session.generation != generation  # else the broker itself comes and goes
        short = self._durable and trio.current_time() - begun < CONTESTED_SECONDS
        if accepted and short and isinstance(outcome, StreamLost) and not self._at_once:
            self._closed_in_a_row += 1
            outcome = CONTESTED if self._closed_in_a_row >= WITHOUT_A_WORD else outcome
        else:
            self._closed_in_a_row = 0
        state = LinkState.DOWN
        if _taken_over(outcome):
            state = LinkState.TAKEN_OVER
            self.taken_over += 1
            log.error("another client seems to use our client id", endpoint=self.transport.name, times=self.taken_over)
        self.board.post(Link(state, self.session.generation, detail=describe(outcome)))
        return outcome

    def _delay(self, outcome: Outcome) -> float:
        if self._at_once:
            self._at_once = False
            return 0.0
        # Two clients of one identifier that both come back at once would disconnect each other for ever.
        return self._contest.next() if _taken_over(outcome) else self._backoff.next()

    # What the session reports

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            handler = self._handlers.get(type(event))
            if handler is not None:  # endings are the pump's to return
                handler(event)

    def _on_connected(self, event: Connected) -> None:
        present = event.connack.session_present
        generation = self.session.generation
        # A connection without a session to come back to (a probe, a command) may be one of very many.
        note = log.info if self._durable else log.debug
        note("mqtt connected", endpoint=self.transport.name, generation=generation, session_present=present)
        self.inbox.renew(generation, redelivered=present)
        self.receipts.give_up(event.given_up)
        self.subscriptions.connected(session_present=present)
        self.board.post(Link(LinkState.CONNECTED, generation, present, event.connack, "connected"))
        self._send_requests()
        self.review()
        self.progress.unpark_all()
        if self._first is not None:
            self._first()
            self._first = None

    def _on_publishes(self, event: Publishes) -> None:
        self.received += len(event.packets)
        generation = self.session.generation
        self.inbox.put(InboundBatch(event.packets, generation, event.first, event.count, self._clock.now()))

    def _on_pubacks(self, event: PubAcks) -> None:
        self.receipts.settle(event.packets)
        self.progress.unpark_all()

    def _on_suback(self, event: SubAck) -> None:
        for pattern, code in self.subscriptions.granted(event.packet):
            self._log_refusal(pattern, code.name)
        self._send_requests()
        self.review()

    def _on_unsuback(self, event: UnsubAck) -> None:
        self.subscriptions.removed(event.packet)
        self._send_requests()
        self.review()


def describe(outcome: Outcome) -> str:
    """Return why a connection ended, for people."""
    match outcome:
        case ConnectRefused(reason_code, detail):
            return _joined(f"the broker refused us: {_words(reason_code)}", detail)
        case PeerDisconnected(DisconnectReasonCode.SESSION_TAKEN_OVER, _):
            return "another client uses our client id: session taken over"
        case PeerDisconnected(reason_code, detail):
            return _joined(f"the broker disconnected us: {_words(reason_code)}", detail)
        case ProtocolFailure(reason_code, detail):
            return _joined(f"the broker broke the protocol: {_words(reason_code)}", detail)
        case KeepAliveExpired(silence):
            return f"nothing heard from the broker for {silence:.1f} s"
        case StreamLost(detail):
            return detail


def _words(code: ConnAckReasonCode | DisconnectReasonCode) -> str:
    return code.name.lower().replace("_", " ")


def _joined(text: str, detail: str) -> str:
    return f"{text} ({detail})" if detail else text


def _stream_error_text(error: Exception) -> str:
    """Return why there is no stream, without the address that trio repeats; of several addresses, each cause once."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        causes = [one for one in cause.exceptions if isinstance(one, OSError)]
        return "; ".join(dict.fromkeys(_stream_error_text(one) for one in causes))
    if isinstance(error, ssl.SSLError):  # its numbers are not the system's
        return f"TLS failed: {error}"
    if not isinstance(error, OSError):  # trio tells what broke a stream as the cause
        return _stream_error_text(cause) if isinstance(cause, Exception) else str(error) or "the stream is closed"
    if error.errno is not None and error.errno > 0:  # name resolution has negative numbers of its own
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _taken_over(outcome: Outcome) -> bool:
    if isinstance(outcome, PeerDisconnected):
        return outcome.reason_code == DisconnectReasonCode.SESSION_TAKEN_OVER
    return outcome == CONTESTED
