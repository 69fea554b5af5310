"""The client's side of an MQTT 5 session, without I/O: bytes and times in, events and bytes out.

One ``Session`` outlives its connections. Each begins with ``connect``; then the shell passes on what it reads
(``receive_data``), writes what ``data_to_send`` returns, and calls ``tick`` when ``next_deadline`` has come.
Whatever a peer sends is answered with events; nothing it sends raises.

What a connection may do next is in ``TRANSITIONS``, which packets it may be sent in ``Session._HANDLERS``: all others
are protocol errors. QoS 2 is not supported: we subscribe with a maximum of 1, so PUBREC, PUBREL and PUBCOMP
have no handler.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import ClassVar, cast

import mqtt5
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    ConnectPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubscribePacket,
)

from appliance.mqtt.events import (
    Connected,
    ConnectRefused,
    Event,
    KeepAliveExpired,
    PeerDisconnected,
    ProtocolFailure,
    PubAcks,
    Publishes,
    SubAck,
    UnsubAck,
)
from appliance.mqtt.framing import Framing, FramingFault
from appliance.mqtt.inflight import Arrivals, Outgoing
from appliance.mqtt.keepalive import Due, KeepAlive
from appliance.mqtt.terms import PLAIN, BrokerCapabilities, MessageProperties, Settings


class State(Enum):
    """The states of a session's connection."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"  # CONNECT is queued or sent
    CONNECTED = "connected"


class Step(Enum):
    """The steps between the states."""

    CONNECT = "connect"
    ACCEPTED = "accepted"
    ENDED = "ended"  # refused, DISCONNECT of either side, protocol failure, silence, stream lost


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.DISCONNECTED, Step.CONNECT): State.CONNECTING,
    (State.CONNECTING, Step.ACCEPTED): State.CONNECTED,
    (State.CONNECTING, Step.ENDED): State.DISCONNECTED,
    (State.CONNECTED, Step.ENDED): State.DISCONNECTED,
    (State.DISCONNECTED, Step.ENDED): State.DISCONNECTED,  # a stream may break after DISCONNECT
}


@dataclass(slots=True)
class Oddities:
    """Counts of what the peer sent needlessly and was ignored."""

    unsolicited_acks: int = 0
    overruns: int = 0  # chunks after which more messages were unacknowledged than the receive maximum


class Session:
    """See the module's docstring. ``generation`` counts connections: what belongs to an older one has no meaning."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.identifier = settings.identifier
        self.state = State.DISCONNECTED
        self.generation = 0
        self.limits = BrokerCapabilities()
        self.oddities = Oddities()
        self.outgoing = Outgoing()
        self.met = False  # the broker accepted us before: never discard its session again
        self._framing = Framing(settings.max_packet_size)
        self._arrivals = Arrivals()
        self._requests: dict[int, int] = {}  # SUBSCRIBE and UNSUBSCRIBE under way: packet id -> filters
        self.keep_alive = KeepAlive(0, 0, 0)
        self._out: list[bytes] = []

    # What the shell does

    def connect(self, now: float) -> None:
        """Begin a new connection: queues CONNECT. Raises KeyError unless disconnected."""
        self._step(Step.CONNECT)
        settings = self.settings
        self.generation += 1
        self._framing = Framing(settings.max_packet_size)
        self._arrivals = Arrivals()
        self._requests = {}
        self.keep_alive = KeepAlive(settings.keep_alive, now, now)
        connect = ConnectPacket(
            self.identifier,
            username=settings.username,
            password=settings.password,
            clean_start=settings.clean_start and not self.met,
            keep_alive=settings.keep_alive,
            session_expiry_interval=settings.session_expiry_interval,
            receive_max=settings.receive_max,
            max_packet_size=settings.max_packet_size,
        )
        self._out = [connect.write()]

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Return the events of a chunk. All its messages are in one ``Publishes``; an ``Ending`` comes last."""
        if self.state is State.DISCONNECTED:
            return []
        self.keep_alive.received(now)
        packets, fault = self._framing.feed(data)
        events: list[Event] = []
        for kind, run in groupby(packets, type):
            handler = self._HANDLERS.get((self.state, kind))
            if handler is None:
                fault = FramingFault(DisconnectReasonCode.PROTOCOL_ERROR, f"{kind.__name__} while {self.state.value}")
                break
            handler(self, list(run), events)
            if self._over:
                return events
        if fault is not None:
            self._fail(fault, events)
        return events

    @property
    def has_output(self) -> bool:
        """Whether ``data_to_send`` has something to return."""
        return bool(self._out)

    @property
    def overrun(self) -> bool:
        """Whether the broker has sent more than it may before we acknowledge: read no further now."""
        return len(self._arrivals) > self.settings.receive_max

    def unheard(self, now: float) -> list[Event]:
        """Like ``tick``, for a shell that has stopped reading: pings are sent, silence is ignored."""
        self.keep_alive.received(now)
        return self.tick(now)

    def data_to_send(self, now: float) -> bytes:
        """Return everything that is to be written now, once; empty when there is nothing."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out = []
        self.keep_alive.sent(now)
        return data

    def next_deadline(self) -> float:
        """Return when to call ``tick``, by the clock of the ``now`` parameters; infinite for never."""
        return self.keep_alive.next_deadline()

    def tick(self, now: float) -> list[Event]:
        """Handle the passing of time: queue a PINGREQ, or declare the connection dead."""
        if self.state is State.DISCONNECTED:
            return []
        due = self.keep_alive.due(now)
        if due is Due.DEAD:
            silence = now - self.keep_alive.last_received
            self.connection_lost()
            return [KeepAliveExpired(silence)]
        if due is Due.PING:
            self.keep_alive.pinged(now)
            self._out.append(PingReqPacket().write())
        return []

    def connection_lost(self) -> None:
        """End the connection: what is unacknowledged waits for the next one."""
        self._step(Step.ENDED)
        self.outgoing.suspend()
        self.keep_alive = KeepAlive(0, 0, 0)

    def disconnect(self, reason_code: DisconnectReasonCode = DisconnectReasonCode.NORMAL_DISCONNECTION) -> None:
        """Queue a DISCONNECT as the last packet of this connection."""
        if self.state is not State.DISCONNECTED:
            self._out.append(DisconnectPacket(reason_code=reason_code).write())
            self.connection_lost()

    # What the user of the client does

    @property
    def room(self) -> int:
        """The number of QoS 1 messages that may be published now."""
        return self.outgoing.room

    def publish(
        self, topic: str, payload: bytes, qos: QoS, *, retain: bool, properties: MessageProperties = PLAIN
    ) -> int:
        """Queue a message; return its packet id, 0 for QoS 0. The caller is connected and has checked ``room``.

        Raises ValueError for a message that cannot be encoded or that the broker does not take.
        """
        packet_id = self.outgoing.free_id(self._requests) if qos != QoS.AT_MOST_ONCE else None
        encoded = PublishPacket(
            topic,
            payload,
            qos=qos,
            retain=retain,
            packet_id=packet_id,
            message_expiry_interval=properties.expiry_interval,
            content_type=properties.content_type,
            user_properties=list(properties.user_properties),
        ).write()
        objection = self.limits.objection(encoded)
        if objection is not None:
            raise ValueError(objection)
        if packet_id is not None:
            self.outgoing.add(packet_id, encoded)
        self._out.append(encoded)
        return packet_id or 0

    def subscribe(self, filters: Sequence[TopicFilter]) -> int:
        """Queue one SUBSCRIBE; return its packet id, which the ``SubAck`` event carries."""
        packet_id = self.outgoing.free_id(self._requests)
        self._request(packet_id, len(filters), SubscribePacket(packet_id, list(filters)).write())
        return packet_id

    def unsubscribe(self, patterns: Sequence[str]) -> int:
        """Queue one UNSUBSCRIBE; return its packet id, which the ``UnsubAck`` event carries."""
        packet_id = self.outgoing.free_id(self._requests)
        self._request(packet_id, len(patterns), UnsubscribePacket(packet_id, list(patterns)).write())
        return packet_id

    def acknowledge(self, generation: int, first: int, count: int) -> int:
        """Acknowledge messages ``first`` to ``first + count - 1`` of that connection.

        Return how many PUBACKs that queued: fewer while an older message is not done, none for another connection.
        """
        if generation != self.generation or self.state is not State.CONNECTED or not count:
            return 0
        acks = self._arrivals.settle(first, count)
        if acks:
            self._out.append(acks)
        return len(acks) // 4

    # What the packets do

    def _on_connack(self, packets: list[ConnAckPacket], events: list[Event]) -> None:
        connack = packets[0]
        if connack.reason_code != ConnAckReasonCode.SUCCESS:
            self.connection_lost()
            events.append(ConnectRefused(connack.reason_code, connack.reason_str or ""))
            return
        if connack.session_present and self.settings.clean_start and not self.met:
            self._fail(_protocol_error("a session is present after a clean start"), events)
            return
        self._step(Step.ACCEPTED)
        self.met = True
        self.limits = limits = BrokerCapabilities.of(connack)
        if connack.assigned_client_id is not None:
            self.identifier = connack.assigned_client_id
        if connack.server_keep_alive is not None:
            self.keep_alive.interval = connack.server_keep_alive
        given_up = self.outgoing.resume(
            limits.receive_max,
            duplicate=connack.session_present,
            sendable=lambda encoded: limits.objection(encoded) is None,
        )
        self._out.extend(self.outgoing.due())
        events.append(Connected(connack, tuple(given_up)))
        if len(packets) > 1:
            self._fail(_protocol_error("a second CONNACK"), events)

    def _on_publishes(self, packets: list[PublishPacket], events: list[Event]) -> None:
        """The hot path: checked in whole runs, one by one only when something is wrong."""
        ids = [packet.packet_id for packet in packets]
        if None in ids:
            ids = [packet_id for packet_id in ids if packet_id is not None]
        fault = None
        if (
            0 in ids
            or QoS.EXACTLY_ONCE in [packet.qos for packet in packets]
            or [packet.topic_alias for packet in packets].count(None) != len(packets)
            or len(ids) + len(self._arrivals) > self.settings.receive_max + self.settings.tolerance
        ):
            packets, fault = self._sound_part(packets)
            ids = [packet.packet_id for packet in packets if packet.packet_id is not None]
        if packets:
            self._deliver(packets, cast("list[int]", ids), events)
            self.oddities.overruns += self.overrun
        if fault is not None:
            self._fail(fault, events)

    def _deliver(self, packets: list[PublishPacket], ids: list[int], events: list[Event]) -> None:
        first = self._arrivals.add(ids)
        for index, event in enumerate(events):
            if isinstance(event, Publishes):  # other packets came in between: still one event a chunk
                event.packets.extend(packets)
                events[index] = Publishes(event.packets, event.first, event.count + len(ids))
                return
        events.append(Publishes(packets, first, len(ids)))

    def _sound_part(self, packets: list[PublishPacket]) -> tuple[list[PublishPacket], FramingFault | None]:
        """Return the messages before the first that is a protocol violation, and the violation."""
        free = self.settings.receive_max + self.settings.tolerance - len(self._arrivals)
        for index, packet in enumerate(packets):
            free -= packet.packet_id is not None
            fault = _publish_fault(packet, free)
            if fault is not None:
                return packets[:index], fault
        return packets, None

    def _on_pubacks(self, packets: list[PubAckPacket], events: list[Event]) -> None:
        known = [packet for packet in packets if self.outgoing.acknowledge(packet.packet_id)]
        self.oddities.unsolicited_acks += len(packets) - len(known)
        self._out.extend(self.outgoing.due())
        if known:
            events.append(PubAcks(known))

    def _on_answers(self, packets: list[SubAckPacket | UnsubAckPacket], events: list[Event]) -> None:
        """Handle answers to SUBSCRIBE and UNSUBSCRIBE; one that answers nothing is ignored."""
        for packet in packets:
            asked = self._requests.pop(packet.packet_id, None)
            if asked is None:
                self.oddities.unsolicited_acks += 1
            elif asked != len(packet.reason_codes):
                detail = f"{type(packet).__name__} with {len(packet.reason_codes)} codes for {asked} filters"
                self._fail(_protocol_error(detail), events)
                return
            else:
                events.append(SubAck(packet) if isinstance(packet, SubAckPacket) else UnsubAck(packet))

    def _on_pingresps(self, packets: list[PingRespPacket], events: list[Event]) -> None:
        """Do nothing: any received byte has already ended the wait for it."""

    def _on_disconnect(self, packets: list[DisconnectPacket], events: list[Event]) -> None:
        self.connection_lost()
        events.append(PeerDisconnected(packets[0].reason_code, packets[0].reason_str or ""))

    _HANDLERS: ClassVar[dict[tuple[State, type[mqtt5.Packet]], Callable[..., None]]] = {
        (State.CONNECTING, ConnAckPacket): _on_connack,
        (State.CONNECTED, PublishPacket): _on_publishes,
        (State.CONNECTED, PubAckPacket): _on_pubacks,
        (State.CONNECTED, SubAckPacket): _on_answers,
        (State.CONNECTED, UnsubAckPacket): _on_answers,
        (State.CONNECTED, PingRespPacket): _on_pingresps,
        (State.CONNECTED, DisconnectPacket): _on_disconnect,
    }

    # Inner steps

    @property
    def _over(self) -> bool:
        return self.state is State.DISCONNECTED

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _fail(self, fault: FramingFault, events: list[Event]) -> None:
        self.disconnect(fault.reason_code)
        events.append(ProtocolFailure(fault.reason_code, fault.detail))

    def _request(self, packet_id: int, filters: int, encoded: bytes) -> None:
        self._requests[packet_id] = filters
        self._out.append(encoded)


def _protocol_error(detail: str) -> FramingFault:
    return FramingFault(DisconnectReasonCode.PROTOCOL_ERROR, detail)


def _publish_fault(packet: PublishPacket, free: int) -> FramingFault | None:
    """Return what is wrong with a message when ``free`` more may be unacknowledged after it."""
    if packet.qos == QoS.EXACTLY_ONCE:
        return FramingFault(DisconnectReasonCode.QOS_NOT_SUPPORTED, "a QoS 2 message, subscribed with at most 1")
    if packet.packet_id == 0:
        return _protocol_error("a message with packet id 0")  # [MQTT-2.2.1-3]
    if packet.topic_alias is not None:
        return FramingFault(DisconnectReasonCode.TOPIC_ALIAS_INVALID, "a topic alias, none was allowed")
    if free < 0:
        return FramingFault(
            DisconnectReasonCode.RECEIVE_MAX_EXCEEDED, "more unacknowledged messages than the receive maximum"
        )
    return None
