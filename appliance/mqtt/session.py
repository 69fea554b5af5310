"""The client's side of an MQTT 5 session, without I/O: bytes and times in, events and bytes out.

One ``Session`` outlives its connections. Each begins with ``connect``; then the shell passes on what it reads
(``receive_data``), writes what ``data_to_send`` returns, and calls ``tick`` when ``next_deadline`` has come.
Whatever a peer sends is answered with events; nothing it sends raises.

What a connection may do next is in ``TRANSITIONS``, which packets it may be sent in ``Session._HANDLERS``: all others
are protocol errors. QoS 2 is not supported: we subscribe with a maximum of 1, and an exchange that somebody else left
in the session is ended by the answer that we know nothing of it (MQTT 5 §4.3.3, reason code 0x92).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRelPacket,
    QoS,
    SubAckPacket,
    TopicFilter,
    UnsubAckPacket,
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
from appliance.mqtt.inflight import Arrivals, Outgoing, PacketIds
from appliance.mqtt.keepalive import Due, KeepAlive
from appliance.mqtt.requests import Requests, Strays
from appliance.mqtt.states import TRANSITIONS, State, Step
from appliance.mqtt.terms import PLAIN, BrokerCapabilities, MessageProperties, Settings, encoded_message, require
from appliance.mqtt.violations import Opening, protocol_error, sound_part

MAX_UNSENT_ACKS = 1024 * 1024
"""Bytes of PUBACKs that wait to be written, at most: four each, so those of four windows of 65,535 messages. A broker
that works comes nowhere near: it takes them before it may send as many."""


@dataclass(slots=True)
class Oddities:
    """Counts of what the peer sent needlessly and was ignored."""

    unsolicited_acks: int = 0
    overruns: int = 0  # chunks after which more messages were unacknowledged than the receive maximum


class Session:
    """See the module's docstring. ``generation`` counts connections: what belongs to an older one has no meaning.

    It goes on from the one given, so that nothing of another session of the same client can be taken for its own.
    """

    def __init__(self, settings: Settings, generation: int = 0) -> None:
        self.settings = settings
        self.identifier = settings.identifier
        self.state = State.DISCONNECTED
        self.generation = generation
        self.limits = BrokerCapabilities()
        self.oddities = Oddities()
        self.outgoing = Outgoing()
        self.met = False  # the broker accepted us before: never discard its session again
        self._framing = Framing(settings.max_packet_size)
        self._arrivals = Arrivals()
        self._ids = PacketIds()
        self._requests = Requests(self._ids)
        self._strays = Strays()
        self._opening = Opening()
        self.keep_alive = KeepAlive(0, 0, 0)
        self._out: list[bytes] = []
        self._unsent_acks = 0  # bytes among them

    # What the shell does

    def connect(self, now: float) -> None:
        """Begin a new connection: queues CONNECT. Raises KeyError unless disconnected."""
        self._step(Step.CONNECT)
        settings = self.settings
        self.generation += 1
        self._framing = Framing(settings.max_packet_size)
        self._arrivals = Arrivals()
        self._opening = Opening()
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
        self._unsent_acks = 0

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Return the events of a chunk. All its messages are in one ``Publishes``; an ``Ending`` comes last."""
        if self.state is State.DISCONNECTED:
            return []
        self.keep_alive.received(now)
        fault = self._opening.fault(data) if self.state is State.CONNECTING and data else None
        packets: list[mqtt5.Packet] = []
        if fault is None:
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
            older = self._opening.refusal() if self.state is State.CONNECTING else None
            if older is None:
                self._fail(fault, events)
            else:
                self.connection_lost()
                events.append(older)
        return events

    @property
    def has_output(self) -> bool:
        """Whether ``data_to_send`` has something to return."""
        return bool(self._out)

    @property
    def overrun(self) -> bool:
        """Whether the broker has sent more than it may before we acknowledge: read no further now."""
        return len(self._arrivals) > self.settings.receive_max

    @property
    def backed_up(self) -> bool:
        """Whether the broker takes no acknowledgements: read no further, or they pile up."""
        return self._unsent_acks > MAX_UNSENT_ACKS

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
        self._unsent_acks = 0
        self._strays.sent()
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
        self._requests.clear()
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

    @property
    def request_room(self) -> int:
        """The number of SUBSCRIBE and UNSUBSCRIBE packets that may be sent now."""
        return self._requests.room if self.state is State.CONNECTED else 0

    def publish(
        self, topic: str, payload: bytes, qos: QoS, *, retain: bool, properties: MessageProperties = PLAIN
    ) -> int:
        """Queue a message; return its packet id, 0 for QoS 0. The caller is connected and has checked ``room``.

        Raises ValueError for a message that cannot be encoded or that the broker does not take.
        """
        packet_id = self._ids.take() if qos != QoS.AT_MOST_ONCE else None
        try:
            encoded = encoded_message(topic, payload, qos, packet_id, properties, retain=retain)
            require(self.limits.objection(encoded))
        except BaseException:
            if packet_id is not None:
                self._ids.give_back(packet_id)
            raise
        if packet_id is not None:
            self.outgoing.add(packet_id, encoded)
        self._out.append(encoded)
        return packet_id or 0

    def subscribe(self, filters: Sequence[TopicFilter]) -> int:
        """Queue one SUBSCRIBE; return its packet id, which the ``SubAck`` event carries.

        The caller has checked ``request_room``. Raises ValueError when the broker does not take it.
        """
        packet_id, encoded = self._requests.subscribe(filters, self.limits)
        self._out.append(encoded)
        return packet_id

    def unsubscribe(self, patterns: Sequence[str]) -> int:
        """Queue one UNSUBSCRIBE; return its packet id, which the ``UnsubAck`` event carries. See ``subscribe``."""
        packet_id, encoded = self._requests.unsubscribe(patterns, self.limits)
        self._out.append(encoded)
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
            self._unsent_acks += len(acks)
        return len(acks) // 4

    # What the packets do

    def _on_connack(self, packets: list[ConnAckPacket], events: list[Event]) -> None:
        connack = packets[0]
        if connack.reason_code != ConnAckReasonCode.SUCCESS:
            self.connection_lost()
            events.append(ConnectRefused(connack.reason_code, connack.reason_str or ""))
            return
        if connack.session_present and self.settings.clean_start and not self.met:
            self._fail(protocol_error("a session is present after a clean start"), events)
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
        for packet_id in given_up:
            self._ids.give_back(packet_id)
        self._out.extend(self.outgoing.due())
        events.append(Connected(connack, tuple(given_up)))
        if len(packets) > 1:
            self._fail(protocol_error("a second CONNACK"), events)

    def _on_publishes(self, packets: list[PublishPacket], events: list[Event]) -> None:
        """The hot path: checked in whole runs, one by one only when something is wrong."""
        ids = [packet.packet_id for packet in packets]
        if None in ids:
            ids = [packet_id for packet_id in ids if packet_id is not None]
        fault = None
        topics = "\n".join([packet.topic for packet in packets])
        if (
            0 in ids
            or "#" in topics
            or "+" in topics
            or "\0" in topics
            or QoS.EXACTLY_ONCE in [packet.qos for packet in packets]
            or [packet.topic_alias for packet in packets].count(None) != len(packets)
            or len(ids) + len(self._arrivals) > self.settings.receive_max + self.settings.tolerance
        ):
            free = self.settings.receive_max + self.settings.tolerance - len(self._arrivals)
            packets, fault = sound_part(packets, free)
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

    def _on_pubacks(self, packets: list[PubAckPacket], events: list[Event]) -> None:
        known = [packet for packet in packets if self.outgoing.acknowledge(packet.packet_id)]
        for packet in known:
            self._ids.give_back(packet.packet_id)
        self.oddities.unsolicited_acks += len(packets) - len(known)
        self._out.extend(self.outgoing.due())
        if known:
            events.append(PubAcks(known))

    def _on_strays(self, packets: list[PubRecPacket | PubRelPacket | PubCompPacket], events: list[Event]) -> None:
        for packet in packets:
            self.oddities.unsolicited_acks += 1
            answer = self._strays.answer(packet, ours=packet.packet_id in self.outgoing)
            if isinstance(answer, FramingFault):
                self._fail(answer, events)
                return
            if answer:
                self._out.append(answer)

    def _on_answers(self, packets: list[SubAckPacket | UnsubAckPacket], events: list[Event]) -> None:
        """Handle answers to SUBSCRIBE and UNSUBSCRIBE; one that answers nothing is ignored."""
        for packet in packets:
            known = self._requests.settle(packet)
            if isinstance(known, FramingFault):
                self._fail(known, events)
                return
            if known:
                events.append(SubAck(packet) if isinstance(packet, SubAckPacket) else UnsubAck(packet))
            else:
                self.oddities.unsolicited_acks += 1

    def _on_pingresps(self, packets: list[PingRespPacket], events: list[Event]) -> None:
        """Do nothing: any received byte has already ended the wait for it."""

    def _on_disconnect(self, packets: list[DisconnectPacket], events: list[Event]) -> None:
        self.connection_lost()
        events.append(PeerDisconnected(packets[0].reason_code, packets[0].reason_str or ""))

    _HANDLERS: ClassVar[dict[tuple[State, type[mqtt5.Packet]], Callable[..., None]]] = {
        (State.CONNECTING, ConnAckPacket): _on_connack,
        (State.CONNECTED, PublishPacket): _on_publishes,
        (State.CONNECTED, PubAckPacket): _on_pubacks,
        (State.CONNECTED, PubRecPacket): _on_strays,
        (State.CONNECTED, PubRelPacket): _on_strays,
        (State.CONNECTED, PubCompPacket): _on_strays,
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
