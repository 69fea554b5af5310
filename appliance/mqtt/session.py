"""The client's side of an MQTT 5 session, without I/O: bytes and times in, events and bytes out.

One ``Session`` outlives its connections. Each begins with ``connect``; then the shell passes on what it reads
(``receive_data``), writes what ``data_to_send`` returns, and calls ``tick`` when ``next_deadline`` has come.
Whatever a peer sends is answered with events; nothing it sends raises.

What a connection may do next is in ``TRANSITIONS``, which packets it may be sent in ``Session._HANDLERS``: all others
are protocol errors. Our messages are in ``sending``, the broker's in ``reception``.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import ClassVar, cast

import mqtt5
from mqtt5 import ConnAckPacket, DisconnectPacket, DisconnectReasonCode, PublishPacket, QoS

from appliance.mqtt.authentication import authentication_step
from appliance.mqtt.events import (
    Connected,
    ConnectRefused,
    Event,
    KeepAliveExpired,
    PeerDisconnected,
    ProtocolFailure,
    PubAcks,
    PubComps,
    Publishes,
    PubRecs,
    PubRels,
    SubAck,
    UnsubAck,
)
from appliance.mqtt.exchanges import Outgoing
from appliance.mqtt.framing import Framing, FramingFault
from appliance.mqtt.inflight import PacketIds
from appliance.mqtt.journal import Journal, Saved
from appliance.mqtt.keepalive import Due, KeepAlive
from appliance.mqtt.output import Output
from appliance.mqtt.reception import Reception
from appliance.mqtt.requests import Requests
from appliance.mqtt.sending import Sending
from appliance.mqtt.states import TRANSITIONS, State, Step
from appliance.mqtt.terms import NO_TERMS, PLAIN, BrokerCapabilities, MessageProperties, Settings, Terms
from appliance.mqtt.violations import Opening, protocol_error


class Session:
    """See the module's docstring. ``generation`` counts connections: what belongs to an older one has no meaning.

    It goes on from the one given, so that nothing of another session of the same client can be taken for its own.
    """

    def __init__(self, settings: Settings, generation: int = 0, journal: Journal | None = None) -> None:
        saved = Saved() if journal is None else journal.load()
        self.settings = settings
        self.identifier = settings.identifier
        self.state = State.DISCONNECTED
        self.generation = generation
        self.limits = BrokerCapabilities()
        self.overruns = 0  # chunks after which more messages were unacknowledged than the receive maximum
        self.met = False  # the broker accepted us before: never discard its session again
        self._framing = Framing(settings.max_packet_size)
        self._reception = Reception(settings, journal, saved.kept)
        self._out = Output()
        self.packet_ids = self._ids = PacketIds()
        self._sending = Sending(self._ids, self._out, journal, saved, manual=settings.manual)
        self._requests = Requests(self._ids)
        self._opening = Opening()
        self.keep_alive = KeepAlive(0, 0, 0)

    @property
    def outgoing(self) -> Outgoing:
        """Our messages that are under way."""
        return self._sending.outgoing

    @property
    def unsolicited(self) -> int:
        """The number of acknowledgements that answered nothing of ours, and were ignored."""
        return self._requests.strays + self._sending.strays

    def connect(self, now: float) -> None:
        """Begin a new connection: queues CONNECT. Raises KeyError unless disconnected."""
        self._step(Step.CONNECT)
        settings = self.settings
        self.generation += 1
        self._framing = Framing(settings.max_packet_size)
        self._reception.begin(self.generation)
        self._opening = Opening()
        self.keep_alive = KeepAlive(settings.keep_alive, now, now)
        self._out.clear()
        clean = settings.clean_start and not self.met
        self._out.write(settings.connect_packet(self.identifier, clean_start=clean).write())

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Return the events of a chunk. Its messages are in one ``Publishes`` mostly; an ``Ending`` comes last."""
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
        return len(self._reception) > self.settings.receive_max

    @property
    def backed_up(self) -> bool:
        """Whether the broker takes no acknowledgements: read no further, or they pile up."""
        return self._out.backed_up

    def unheard(self, now: float) -> list[Event]:
        """Like ``tick``, for a shell that has stopped reading: pings are sent, silence is ignored."""
        self.keep_alive.received(now)
        return self.tick(now)

    def data_to_send(self, now: float) -> bytes:
        """Return everything that is to be written now, once; empty when there is nothing."""
        if not self._out:
            return b""
        data = self._out.take()
        self._sending.flushed()
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
            self._out.write(mqtt5.PingReqPacket().write())
        return []

    def connection_lost(self) -> None:
        """End the connection: what is unacknowledged waits for the next one."""
        self._step(Step.ENDED)
        self._sending.outgoing.suspend()
        self._reception.end()
        self._requests.clear()
        self.keep_alive = KeepAlive(0, 0, 0)

    def disconnect(self, reason_code: DisconnectReasonCode = DisconnectReasonCode.NORMAL_DISCONNECTION) -> None:
        """Queue a DISCONNECT as the last packet of this connection."""
        if self.state is not State.DISCONNECTED:
            self._out.write(DisconnectPacket(reason_code=reason_code).write())
            self.connection_lost()

    # What the user of the client does

    @property
    def room(self) -> int:
        """The number of messages of QoS 1 and 2 that may be published now."""
        return self._sending.outgoing.room

    @property
    def request_room(self) -> int:
        """The number of SUBSCRIBE and UNSUBSCRIBE packets that may be sent now."""
        return self._requests.room if self.state is State.CONNECTED else 0

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: QoS,
        *,
        retain: bool,
        properties: MessageProperties = PLAIN,
        packet_id: int | None = None,
        duplicate: bool = False,
    ) -> int:
        """Queue a message; return its packet id, 0 for QoS 0. The caller is connected and has checked ``room``.

        A ``packet_id`` that is given is taken instead of a free one. Raises ValueError for a message that cannot be
        encoded or that the broker does not take, and for a packet id that is in use.
        """
        return self._sending.publish(
            topic, payload, qos, properties, self.limits, retain=retain, packet_id=packet_id, duplicate=duplicate
        )

    def pubrel(self, packet: mqtt5.PubRelPacket) -> None:
        """Queue our PUBREL (with ``manual``); see ``Sending.release``."""
        self._sending.release(packet)

    def pubcomp(self, packet: mqtt5.PubCompPacket) -> None:
        """Queue our answer to a PUBREL (with ``manual``)."""
        self._out.acknowledge(self._reception.completed(packet))

    def answer(self, generation: int, number: int, packet: mqtt5.PubAckPacket | mqtt5.PubRecPacket) -> None:
        """Answer message ``number`` of that connection with this packet, once it and those before it are settled."""
        self._reception.answer(generation, number, packet)

    def subscribe(self, filters: Sequence[mqtt5.TopicFilter], terms: Terms = NO_TERMS) -> int:
        """Queue one SUBSCRIBE; return its packet id, which the ``SubAck`` event carries.

        The caller has checked ``request_room``. Raises ValueError when the broker does not take it.
        """
        packet_id, encoded = self._requests.subscribe(filters, terms, self.limits)
        self._out.write(encoded)
        return packet_id

    def unsubscribe(self, patterns: Sequence[str], terms: Terms = NO_TERMS) -> int:
        """Queue one UNSUBSCRIBE; return its packet id, which the ``UnsubAck`` event carries. See ``subscribe``."""
        packet_id, encoded = self._requests.unsubscribe(patterns, terms, self.limits)
        self._out.write(encoded)
        return packet_id

    def acknowledge(self, generation: int, first: int, count: int) -> int:
        """Acknowledge messages ``first`` to ``first + count - 1`` of that connection.

        Return how many that acknowledged: fewer while an older message is not done, of a lost connection QoS 2 alone.
        """
        if generation == self.generation and self.state is State.CONNECTED:
            acks, settled = self._reception.settle(first, count)
        else:
            acks, settled = self._reception.adopt(generation, first, count)
        if acks:
            self._out.acknowledge(acks)
        return settled

    def _on_connack(self, packets: list[ConnAckPacket], events: list[Event]) -> None:
        connack = packets[0]
        if connack.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            self.connection_lost()
            events.append(ConnectRefused(connack.reason_code, connack.reason_str or "", connack))
            return
        if connack.session_present and self.settings.clean_start and not self.met:
            self._fail(protocol_error("a session is present after a clean start"), events)
            return
        self._step(Step.ACCEPTED)
        self.met = True
        self.limits = limits = BrokerCapabilities.of(connack)
        self.identifier = connack.assigned_client_id or self.identifier
        if connack.server_keep_alive is not None:
            self.keep_alive.interval = connack.server_keep_alive
        if not connack.session_present:
            self._reception.forget()
        events.append(Connected(connack, self._sending.resume(limits, kept=connack.session_present)))
        if len(packets) > 1:
            self._fail(protocol_error("a second CONNACK"), events)

    def _on_publishes(self, packets: list[PublishPacket], events: list[Event]) -> None:
        """The hot path: checked in whole runs, one by one only when something is unusual."""
        ids = [packet.packet_id for packet in packets]
        if None in ids:
            ids = [packet_id for packet_id in ids if packet_id is not None]
        topics = "\n".join([packet.topic for packet in packets])
        if (
            0 in ids
            or "#" in topics
            or "+" in topics
            or "\0" in topics
            or QoS.EXACTLY_ONCE in [packet.qos for packet in packets]
            or [packet.topic_alias for packet in packets].count(None) != len(packets)
            or len(ids) > self._reception.free
        ):
            self._on_unusual(packets, events)
            return
        self._deliver(packets, cast("list[int]", ids), events)
        self.overruns += self.overrun

    def _on_unusual(self, packets: list[PublishPacket], events: list[Event]) -> None:
        for sound, answers, fault in self._reception.sift(packets):
            self._out.acknowledge(answers)
            if sound:
                self._deliver(sound, [packet.packet_id for packet in sound if packet.packet_id is not None], events)
            if fault is not None:
                self._fail(fault, events)
        self.overruns += self.overrun

    def _deliver(self, packets: list[PublishPacket], ids: list[int], events: list[Event]) -> None:
        first = self._reception.add(ids)
        for index, event in enumerate(events):
            if isinstance(event, Publishes) and event.first + event.count == first:  # others came in between
                event.packets.extend(packets)
                events[index] = Publishes(event.packets, event.first, event.count + len(ids))
                return
        events.append(Publishes(packets, first, len(ids)))

    def _on_pubacks(self, packets: list[mqtt5.PubAckPacket], events: list[Event]) -> None:
        known, fault = self._sending.acknowledged(packets)
        self._settled(PubAcks(known), fault, events)

    def _on_pubrecs(self, packets: list[mqtt5.PubRecPacket], events: list[Event]) -> None:
        known, fault = self._sending.received(packets)
        self._settled(PubRecs(known), fault, events)

    def _on_pubcomps(self, packets: list[mqtt5.PubCompPacket], events: list[Event]) -> None:
        known, fault = self._sending.completed(packets)
        self._settled(PubComps(known), fault, events)

    def _on_pubrels(self, packets: list[mqtt5.PubRelPacket], events: list[Event]) -> None:
        """Answer with PUBCOMP, or hand them out where the caller does."""
        if self.settings.manual:
            fresh, fault = self._reception.announced(packets)
            self._settled(PubRels(fresh), fault, events)
            return
        for packet in packets:
            answer = self._reception.released(packet.packet_id)
            if answer is None:
                answer = self._sending.stray(packet)
            elif isinstance(answer, bytes):
                self._out.acknowledge(answer)
            if isinstance(answer, FramingFault):
                self._fail(answer, events)
                return

    def _on_auth(self, packets: list[mqtt5.AuthPacket], events: list[Event]) -> None:
        """Go on with the authentication that we began in CONNECT; the broker may not begin one (MQTT 5 §4.12)."""
        answer = authentication_step(self.settings, packets[0], connecting=self.state is State.CONNECTING)
        if isinstance(answer, FramingFault):
            self._fail(answer, events)
        else:
            self._out.write(answer)

    def _on_answers(self, packets: list[mqtt5.SubAckPacket | mqtt5.UnsubAckPacket], events: list[Event]) -> None:
        """Handle answers to SUBSCRIBE and UNSUBSCRIBE; one that answers nothing is ignored."""
        for packet in packets:
            known = self._requests.settle(packet)
            if isinstance(known, FramingFault):
                self._fail(known, events)
                return
            if known:
                events.append(SubAck(packet) if isinstance(packet, mqtt5.SubAckPacket) else UnsubAck(packet))

    def _on_pingresps(self, packets: list[mqtt5.PingRespPacket], events: list[Event]) -> None:
        """Do nothing: any received byte has already ended the wait for it."""

    def _on_disconnect(self, packets: list[DisconnectPacket], events: list[Event]) -> None:
        self.connection_lost()
        events.append(PeerDisconnected(packets[0].reason_code, packets[0].reason_str or ""))

    _HANDLERS: ClassVar[dict[tuple[State, type[mqtt5.Packet]], Callable[..., None]]] = {
        (State.CONNECTING, ConnAckPacket): _on_connack,
        (State.CONNECTING, mqtt5.AuthPacket): _on_auth,
        (State.CONNECTED, PublishPacket): _on_publishes,
        (State.CONNECTED, mqtt5.PubAckPacket): _on_pubacks,
        (State.CONNECTED, mqtt5.PubRecPacket): _on_pubrecs,
        (State.CONNECTED, mqtt5.PubRelPacket): _on_pubrels,
        (State.CONNECTED, mqtt5.PubCompPacket): _on_pubcomps,
        (State.CONNECTED, mqtt5.AuthPacket): _on_auth,
        (State.CONNECTED, mqtt5.SubAckPacket): _on_answers,
        (State.CONNECTED, mqtt5.UnsubAckPacket): _on_answers,
        (State.CONNECTED, mqtt5.PingRespPacket): _on_pingresps,
        (State.CONNECTED, DisconnectPacket): _on_disconnect,
    }

    @property
    def _over(self) -> bool:
        return self.state is State.DISCONNECTED

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _settled(
        self, event: PubAcks | PubRecs | PubComps | PubRels, fault: FramingFault | None, events: list[Event]
    ) -> None:
        if event.packets:
            events.append(event)
        if fault is not None:
            self._fail(fault, events)

    def _fail(self, fault: FramingFault, events: list[Event]) -> None:
        self.disconnect(fault.reason_code)
        events.append(ProtocolFailure(fault.reason_code, fault.detail))
