"""The Trio shell around a session: one client that reconnects whenever the connection is lost, with aiomqtt 3's names.

    async with Client("localhost", identifier="...", session_expiry_interval=604800) as client:
        await client.subscribe("tenant/+/device/+/+", retain_handling=RetainHandling.SEND_NEVER)
        async for batch in client.batches():
            ...                               # commit what is in batch.packets
            await client.acknowledge(batch)   # one write, in arrival order

A lost connection raises nothing here: consumers wait, publishers wait, and what was published is sent again.
What was received and not acknowledged comes again from the broker; acknowledgements that belong to an older
connection are dropped, since its packet ids mean nothing on the new one. ``link`` is the state of the connection.
"""

import math
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import trio
from mqtt5 import ConnAckPacket, QoS, RetainHandling, SubAckReasonCode, TopicFilter, Will

from appliance.backoff import Backoff
from appliance.clock import Clock, SystemClock
from appliance.mqtt import topics
from appliance.mqtt.connection import LOG, Connection
from appliance.mqtt.errors import NegativeAckError, sole_cause
from appliance.mqtt.inbox import Batches, InboundBatch, Message, Messages
from appliance.mqtt.journal import Journal
from appliance.mqtt.link import Link, LinkChanges, LinkState, Statistics
from appliance.mqtt.manual import Manual
from appliance.mqtt.publishing import Publishing
from appliance.mqtt.states import State
from appliance.mqtt.subscribing import Subscribing
from appliance.mqtt.terms import PLAIN, Authenticate, MessageProperties, Settings, UserProperties, refuses, require
from appliance.mqtt.transport import Tcp, Transport, Unix

CONNECT_SECONDS = 10.0

OVERRUN_TOLERANCE = 16384
"""Messages beyond the receive maximum that we tolerate: more than one chunk holds, since we stop reading then."""


class Client:
    """See the module's docstring.

    Exactly one of ``hostname``, ``unix_socket`` and ``transport`` gives the broker's address. Intervals and timeouts
    are seconds; ``receive_max`` is how many unacknowledged messages the broker may send. ``clean_start`` counts for
    the first connection only. With ``keep_trying`` a broker that is away or refuses us at first is tried again like
    later; else entering raises ``ConnectError``. With ``reconnect`` off, the first connection is the only one.

    A client that was left may be entered again: it begins anew, without subscriptions, and its counts with it. Entering
    one that is entered raises RuntimeError. Outside of ``async with``, what needs a connection raises
    ``DisconnectedError`` instead of waiting for one.

    ``will`` is published by the broker when the connection breaks, and when ``async with`` is left by an exception.
    ``authenticate`` answers the broker's steps of ``authentication_method``; see ``terms.Authenticate``. ``journal``
    keeps over a crash what QoS 1 and 2 have in memory; see ``appliance.mqtt.journal``. With ``manual`` what a broker
    sends goes there, and ``messages``, ``batches`` and ``publish`` are not for use; ``log`` is a logger of structlog.
    """

    def __init__(
        self,
        hostname: str | None = None,
        port: int = 1883,
        *,
        unix_socket: str | None = None,
        transport: Transport | None = None,
        identifier: str | None = None,
        username: str | None = None,
        password: str | bytes | None = None,
        clean_start: bool = False,
        session_expiry_interval: int = 0,
        will: Will | None = None,
        keep_alive: int = 60,
        authentication_method: str | None = None,
        authentication_data: bytes | None = None,
        authenticate: Authenticate | None = None,
        request_problem_info: bool = True,
        request_response_info: bool = False,
        receive_max: int = 65535,
        topic_alias_max: int = 0,
        max_packet_size: int | None = None,
        user_properties: UserProperties = (),
        journal: Journal | None = None,
        manual: Manual | None = None,
        log: Any = LOG,
        reconnect: bool = True,
        keep_trying: bool = False,
        connect_timeout: float = CONNECT_SECONDS,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = Settings(
            identifier=identifier if identifier is not None else f"appliance-{secrets.token_hex(8)}",
            username=username,
            password=password.encode() if isinstance(password, str) else password,
            clean_start=clean_start,
            session_expiry_interval=session_expiry_interval,
            keep_alive=keep_alive,
            receive_max=receive_max,
            max_packet_size=max_packet_size,
            tolerance=OVERRUN_TOLERANCE,
            will=will,
            topic_alias_max=topic_alias_max,
            authentication_method=authentication_method,
            authentication_data=authentication_data,
            authenticate=authenticate,
            request_problem_info=request_problem_info,
            request_response_info=request_response_info,
            user_properties=user_properties,
            manual=manual is not None,
        )
        self._reconnect = reconnect
        self._keep_trying = keep_trying
        self._backoff = backoff or Backoff()
        self._new_connection = partial(
            Connection,
            _transport(hostname, port, unix_socket, transport),
            settings,
            connect_timeout=connect_timeout,
            backoff=self._backoff,
            clock=clock or SystemClock(),
            journal=journal,
            manual=manual,
            log=log,
        )
        self._life: AbstractAsyncContextManager[None] | None = None
        self._begin(generation=0)

    def _begin(self, generation: int) -> None:
        """Start from nothing, but go on counting connections: a batch of an earlier life is no batch of this one."""
        self._connection = self._new_connection(generation=generation)
        self._board = self._connection.board
        self._session = self._connection.session
        self._publishing = Publishing(self._connection)
        self._subscribing = Subscribing(self._connection)
        self._opened: deque[Message] = deque()  # the rest of a chunk that ``messages`` has begun
        self._pubacks = self._stale = 0
        self._begun = False

    # Life

    async def __aenter__(self) -> Self:
        if self._life is not None:
            raise RuntimeError("the client is entered already: leave it before it is entered again")
        if self._begun:
            self._backoff.reset()
            self._begin(self._session.generation)
        self._begun = True
        self._life = self._live()
        try:
            await self._life.__aenter__()
        except BaseException:
            self._life = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._life is None:
            return None
        try:
            return await self._life.__aexit__(kind, error, traceback)
        finally:
            self._life = None

    @asynccontextmanager
    async def _live(self) -> AsyncGenerator[None, None]:
        """Run the background task. What the body, or the first connection, raises leaves as it is, not in a group."""
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await nursery.start(self._run)
                    yield
                except BaseException as error:  # noqa: BLE001 - raised again below, outside of the nursery
                    failure = error
                    self._connection.leave_with_will()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            cause = sole_cause(group)
            if failure is None or isinstance(failure, trio.Cancelled):
                failure = cause
        finally:
            self._connection.close("the client was closed")
        if failure is not None:
            raise failure

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._connection.run(reconnect=self._reconnect, keep_trying=self._keep_trying, task_status=task_status)

    # How things stand

    @property
    def identifier(self) -> str:
        """Our client id; the broker may have assigned another one than we asked for."""
        return self._session.identifier

    @property
    def link(self) -> Link:
        """The current state of the connection."""
        return self._board.link

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us and nothing has ended that."""
        return self._board.link.up

    @property
    def generation(self) -> int:
        """The number of the newest connection, from 1; 0 before the first."""
        return self._session.generation

    @property
    def session_present(self) -> bool:
        """Whether the broker had kept our session when it accepted us."""
        return self._board.link.session_present

    def link_changes(self) -> LinkChanges:
        """Iterate over the link now and after each change; a slow consumer sees only the newest. Ends after CLOSED."""
        return LinkChanges(self._board)

    async def connected(self) -> ConnAckPacket:
        """Wait for a connection. Raises DisconnectedError when none will come."""
        await trio.lowlevel.checkpoint()
        while (connack := self._board.link.connack) is None:
            await self._board.changed()
        return connack

    async def ready(self) -> Link:
        """Wait until every subscription is granted on a live connection. Raises DisconnectedError when closed."""
        return await self._board.wait_for(LinkState.READY)

    async def disconnected(self) -> Link:
        """Wait until there is no connection."""
        return await self._board.wait_for(LinkState.DOWN, LinkState.TAKEN_OVER, LinkState.CLOSED)

    @property
    def heard_at(self) -> float:
        """Return when the broker was last heard on this connection, whatever it said, in Trio's seconds."""
        return self._session.keep_alive.last_received

    def statistics(self) -> Statistics:
        """Return counts since the client was entered, for metrics and pages."""
        inbox = self._connection.inbox
        return Statistics(
            connections=self._session.generation - self._connection.earlier,
            taken_over=self._connection.taken_over,
            received=self._connection.received,
            published=self._publishing.published,
            pubacks=self._pubacks,
            stale=self._stale,
            dropped=inbox.dropped,
            forgotten=inbox.forgotten,
            unsolicited=self._session.unsolicited,
            overruns=self._session.overruns,
            waiting=len(inbox),
            unacknowledged=len(self._session.outgoing),
        )

    def drop_connection(self) -> None:
        """Close the connection and connect again at once: the broker then resends everything not acknowledged."""
        self._connection.drop()

    # Receiving

    def batches(self, maximum: int = 4096, within: float = math.inf) -> Batches:
        """Iterate over received messages, whole chunks at a time, joined up to ``maximum`` messages.

        A batch has the receive time of its first message; the others came less than ``within`` seconds after it.
        Ends with the client; raises DisconnectedError when the connection is lost and ``reconnect`` is off.
        """
        return Batches(self._connection.inbox, maximum, within)

    def messages(self) -> Messages:
        """Iterate over received messages, one by one; those of QoS 1 and 2 need a ``puback`` each. See ``batches``."""
        return Messages(self._connection.inbox, self._opened)

    async def acknowledge(self, *batches: InboundBatch) -> int:
        """Acknowledge these batches: their PUBACKs and PUBRECs are sent in one write. Return their number.

        They are sent in the order of arrival (MQTT 5 §4.6): a batch acknowledged before an older one waits for it.
        Of a batch of a lost connection only messages of QoS 2 count, which do not come again. Returns when the bytes
        are with the kernel. If cancelled, they are sent nevertheless.
        """
        pubacks = self.acknowledge_soon(*batches)
        await self._connection.flush()
        return pubacks

    def acknowledge_soon(self, *batches: InboundBatch) -> int:
        """Like ``acknowledge``, for batches that others follow at once: does not wait for the kernel."""
        pubacks = sum([self._settle(batch.generation, batch.first, batch.count) for batch in batches])
        self._connection.wake()
        return pubacks

    async def puback(self, message: Message) -> None:
        """Acknowledge one message; see ``acknowledge``. For QoS 0 there is nothing to do.

        A message of QoS 2 is answered by PUBREC, and what the broker sends then by PUBCOMP.
        """
        if message.packet.packet_id is not None:
            self._settle(message.generation, message.number, 1)
        await self._connection.flush()

    def _settle(self, generation: int, first: int, count: int) -> int:
        pubacks = self._session.acknowledge(generation, first, count)
        if generation != self._session.generation or self._session.state is not State.CONNECTED:
            self._stale += count - pubacks
        self._pubacks += pubacks
        return pubacks

    # Publishing

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: QoS | int = QoS.AT_LEAST_ONCE,
        retain: bool = False,
        properties: MessageProperties = PLAIN,
    ) -> None:
        """Send a message; waits for a connection if there is none.

        With QoS 1 it waits for the broker's PUBACK, with QoS 2 for its PUBCOMP (MQTT 5 §4.3). Raises NegativeAckError
        when the broker refused it, ValueError for an invalid topic or size, DisconnectedError, and with QoS 2
        SessionLostError when nobody knows any more whether it arrived. A message of QoS 1 or 2 that was sent when the
        call is cancelled is delivered nevertheless.
        """
        await self.publish_many(((topic, payload),), qos=qos, retain=retain, properties=properties)

    async def publish_many(
        self,
        messages: Iterable[tuple[str, bytes]],
        *,
        qos: QoS | int = QoS.AT_LEAST_ONCE,
        retain: bool = False,
        properties: MessageProperties = PLAIN,
    ) -> None:
        """Send messages without waiting in between, as many at once as the broker takes; then wait for all answers.

        Raises as ``publish``; NegativeAckError is raised at the end and carries the number of refused messages.
        """
        await self._publishing.send(messages, QoS(int(qos)), properties, retain=retain)

    # Subscribing

    async def subscribe(
        self,
        pattern: str,
        *,
        max_qos: QoS | int = QoS.AT_LEAST_ONCE,
        no_local: bool = False,
        retain_as_published: bool = True,
        retain_handling: RetainHandling = RetainHandling.SEND_ALWAYS,
    ) -> SubAckReasonCode:
        """Subscribe now and after every later connect; returns once the broker has granted it.

        Raises NegativeAckError when it is refused, and ValueError for a filter that is invalid or that the broker does
        not take: an earlier subscription to the same filter stays then. The same if the call is cancelled.
        """
        require(topics.filter_mistake(pattern))  # mqtt5's own error does not say which
        topic_filter = TopicFilter(
            pattern,
            max_qos=QoS(int(max_qos)),
            no_local=no_local,
            retain_as_published=retain_as_published,
            retain_handling=retain_handling,
        )
        answer = await self._subscribing.subscribe([topic_filter])
        if refuses(code := answer.reason_codes[0]):
            raise NegativeAckError(f"the subscription to {topics.shown(pattern)}", code, answer.reason_str)
        return code

    async def unsubscribe(self, pattern: str) -> None:
        """End a subscription; returns once the broker has. Raises NegativeAckError when it refuses: it stays then.

        Cancelled after it was sent, it ends the subscription nevertheless.
        """
        answer = await self._subscribing.unsubscribe([pattern])
        if refuses(code := answer.reason_codes[0]):
            raise NegativeAckError(f"to end the subscription to {topics.shown(pattern)}", code, answer.reason_str)


def _transport(hostname: str | None, port: int, unix_socket: str | None, transport: Transport | None) -> Transport:
    """Return the transport that was given. Raises ValueError unless there is exactly one."""
    if sum(choice is not None for choice in (hostname, unix_socket, transport)) != 1:
        raise ValueError("exactly one of hostname, unix_socket and transport says where the broker is")
    if hostname is not None:
        return Tcp(hostname, port)
    if unix_socket is not None:
        return Unix(unix_socket)
    assert transport is not None  # noqa: S101 - for the type checker; counted above
    return transport
