"""Keeps a session connected: connect, serve, find out why it ended, wait, connect again.

Dispatches what the session reports: received messages to the inbox, answers to their waiters. Renews subscriptions
after every connect.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
import trio

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.mqtt.errors import with_reason
from appliance.mqtt.events import (
    Connected,
    Event,
    PubAcks,
    PubComps,
    Publishes,
    PubRecs,
    PubRels,
    SubAck,
    UnsubAck,
)
from appliance.mqtt.inbox import InboundBatch, Inbox
from appliance.mqtt.journal import Journal
from appliance.mqtt.link import Link, LinkBoard, LinkState
from appliance.mqtt.manual import Manual
from appliance.mqtt.outcomes import (
    CONTESTED,
    Outcome,
    StreamLost,
    describe,
    not_connected,
    taken_over,
)
from appliance.mqtt.pump import Pump
from appliance.mqtt.receipts import Receipts
from appliance.mqtt.session import Session
from appliance.mqtt.subscriptions import Request, Subscriptions
from appliance.mqtt.terms import Settings, refuses
from appliance.mqtt.topics import shown
from appliance.mqtt.transport import BROKEN, Transport
from appliance.mqtt.transport.causes import reason

LOG = structlog.get_logger(__name__)

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
        journal: Journal | None = None,
        manual: Manual | None = None,
        log: Any = LOG,
    ) -> None:
        self.transport = transport
        self.session = Session(settings, generation, journal)
        self.earlier = generation
        self.inbox = Inbox(bound=settings.receive_max)
        self.receipts = Receipts()
        self.subscriptions = Subscriptions(renew_kept=manual is None)
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
        self._log = log
        self._manual = manual
        self._pump = Pump(self.session, self._handle, lambda: self.inbox.busy)
        self._at_once = False  # dropped on purpose: no delay before the next connection
        self._first: Callable[[], None] | None = None  # signals the first connection to the starter of ``run``
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            Connected: self._on_connected,
            Publishes: self._on_publishes,
            PubAcks: self._on_pubacks,
            PubRecs: self._on_pubrecs,
            PubComps: self._on_pubcomps,
            SubAck: self._on_suback,
            UnsubAck: self._on_unsuback,
        }
        if manual is not None:
            manual.attach(self)
            self._handlers |= {
                Publishes: manual.on_publishes,
                PubAcks: self._and_progress(manual.on_acks),
                PubRecs: self._and_progress(manual.on_acks),
                PubComps: self._and_progress(manual.on_acks),
                PubRels: manual.on_pubrels,
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
                cause = outcome.cause if isinstance(outcome, StreamLost) else None
                raise not_connected(self.transport.name, outcome) from cause
            if self.session.met and not reconnect:
                self.close(describe(outcome), broken=True)
                return
            lived = trio.current_time() - begun
            if lived >= STABLE_SECONDS:
                self._backoff.reset()
            if lived >= CONTESTED_SECONDS:
                self._contest.reset()
            delay = self._delay(outcome)
            self._log.warning(
                "mqtt connection down", endpoint=self.transport.name, why=describe(outcome), retry_in=delay
            )
            await trio.sleep(delay)

    def close(self, detail: str, *, broken: bool = False) -> None:
        """Close for good; with ``broken``, consumers get an error instead of an end."""
        self.board.post(Link(LinkState.CLOSED, self.session.generation, detail=detail))
        self.inbox.close(self.board.lost() if broken else None)
        self.receipts.abandon()
        self.subscriptions.close()
        self.progress.unpark_all()
        if self._manual is not None:
            self._manual.on_lost()

    def leave_with_will(self) -> None:
        """Have the broker publish our will, if we have one, when this connection ends."""
        if self.session.settings.will is not None:
            self._pump.leave_with_will()

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
            try:
                if request.filters:
                    packet_id = self.session.subscribe(request.filters, request.terms)
                else:
                    packet_id = self.session.unsubscribe(request.patterns, request.terms)
            except ValueError as objection:
                if (unheard := self.subscriptions.impossible(objection)) is not None:
                    self._log_refusal(unheard.patterns[0], str(objection))
            else:
                self.subscriptions.sent(packet_id)
        self.wake()

    def _log_refusal(self, pattern: str, why: str) -> None:
        self._log.error("mqtt subscription refused", endpoint=self.transport.name, filter=shown(pattern), why=why)

    async def _serve(self, begun: float) -> Outcome:
        """Serve one connection, from the first byte to the last; return how it ended."""
        generation = self.session.generation
        outcome: Outcome | None = None
        async with trio.open_nursery() as tasks:
            outcome = await self._serve_stream(begun + self._connect_timeout, tasks)
            tasks.cancel_scope.cancel()
        assert outcome is not None  # noqa: S101 - nothing else leaves the block
        return self._judged(outcome, begun, generation)

    async def _serve_stream(self, deadline: float, tasks: trio.Nursery) -> Outcome:
        try:
            with trio.fail_at(deadline):
                stream = await self.transport.open(tasks)
        except trio.TooSlowError:
            return StreamLost(f"no answer within {self._connect_timeout:g} s")
        except BROKEN as error:
            return StreamLost(reason(error), error)
        self._pump = Pump(self.session, self._handle, lambda: self.inbox.busy)
        return await self._pump.run(stream, deadline)

    def _judged(self, outcome: Outcome, begun: float, generation: int) -> Outcome:
        """Note the end of a connection, and return it by its probable cause."""
        accepted = self.session.generation != generation  # else the broker itself comes and goes
        short = self._durable and trio.current_time() - begun < CONTESTED_SECONDS
        if accepted and short and isinstance(outcome, StreamLost) and not self._at_once:
            self._closed_in_a_row += 1
            outcome = CONTESTED if self._closed_in_a_row >= WITHOUT_A_WORD else outcome
        else:
            self._closed_in_a_row = 0
        state = LinkState.DOWN
        if taken_over(outcome):
            state = LinkState.TAKEN_OVER
            self.taken_over += 1
            what = "another client seems to use our client id"
            self._log.error(what, endpoint=self.transport.name, times=self.taken_over)
        self.board.post(Link(state, self.session.generation, detail=describe(outcome)))
        if self._manual is not None:
            self._manual.on_lost()
        return outcome

    def _delay(self, outcome: Outcome) -> float:
        if self._at_once:
            self._at_once = False
            return 0.0
        # Two clients of one identifier that both come back at once would disconnect each other for ever.
        return self._contest.next() if taken_over(outcome) else self._backoff.next()

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
        note = self._log.info if self._durable else self._log.debug
        note("mqtt connected", endpoint=self.transport.name, generation=generation, session_present=present)
        self.inbox.renew(generation, redelivered=present)
        if self._manual is not None:
            self._manual.on_connected(event)
        self.receipts.resume(event.resumption)
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

    def _on_pubrecs(self, event: PubRecs) -> None:
        self.receipts.settle([packet for packet in event.packets if refuses(packet.reason_code)])
        self.progress.unpark_all()

    def _on_pubcomps(self, event: PubComps) -> None:
        self.receipts.complete(event.packets)
        self.progress.unpark_all()

    def _and_progress(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return the handler, after which publishers look whether there is room."""

        def handle(event: Any) -> None:
            handler(event)
            self.progress.unpark_all()

        return handle

    def _on_suback(self, event: SubAck) -> None:
        for pattern, code in self.subscriptions.granted(event.packet):
            self._log_refusal(pattern, with_reason(code.name, event.packet.reason_str))
        self._send_requests()
        self.review()

    def _on_unsuback(self, event: UnsubAck) -> None:
        self.subscriptions.removed(event.packet)
        self._send_requests()
        self.review()
