"""The broker's messages to us on one session: their acknowledgements, topic aliases, and the ids of QoS 2. No I/O.

Theory. QoS 2 is received by method B (MQTT 5 §4.3.3): a message is handed out once, when it comes. It is in one of two
states, by its packet id, which live as long as the session, over connections:

| state | since                    | the message comes again                       | PUBREL                     |
|-------|--------------------------|-----------------------------------------------|----------------------------|
| held  | it was handed out        | on a later connection: PUBREC once it is kept | protocol error             |
| kept  | its caller acknowledged  | PUBREC once more                              | PUBCOMP, and the id is free|

So what was handed out is not handed out again, whatever becomes of the connection, and what its caller acknowledges
after the connection was lost is acknowledged all the same. Aliases, and the order of acknowledgements, belong to one
connection.

The usual case, messages of QoS 0 and 1 with a topic each, passes by all of this: see ``Session._on_publishes``.
"""

from collections.abc import Collection
from dataclasses import dataclass

from mqtt5 import (
    DisconnectReasonCode,
    PubAckPacket,
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRelPacket,
    QoS,
)

from appliance.mqtt.framing import FramingFault
from appliance.mqtt.inflight import Arrivals, pubacks
from appliance.mqtt.journal import Journal
from appliance.mqtt.terms import Settings, refuses
from appliance.mqtt.violations import message_fault, protocol_error


@dataclass(frozen=True, slots=True)
class _Answer:
    """An acknowledgement that is no PUBACK of success; ``keeps``: from then on the packet id is kept."""

    packet_id: int
    encoded: bytes
    keeps: bool


class Reception:
    """See the module's docstring. ``repeated`` counts messages of QoS 2 that came again and were not handed out."""

    __slots__ = (
        "_aliases",
        "_announced",
        "_answers",
        "_arrivals",
        "_generation",
        "_held",
        "_journal",
        "_kept",
        "_resent",
        "_settings",
        "repeated",
    )

    def __init__(self, settings: Settings, journal: Journal | None, kept: Collection[int] = ()) -> None:
        self.repeated = 0
        self._settings = settings
        self._journal = journal
        self._kept = set(kept)
        self._held: dict[int, tuple[int, int]] = {}  # packet id -> generation and number under which it was handed out
        self.begin(0)

    def __len__(self) -> int:
        """Return the number of messages that are not acknowledged on this connection."""
        return len(self._arrivals)

    def begin(self, generation: int) -> None:
        """Start a new connection, with its number."""
        self._generation = generation
        self._arrivals = Arrivals(self._encoded)
        self._aliases: dict[int, str] = {}
        self._resent: dict[int, int] = {}  # held ones that came again on this connection: packet id -> number
        self._answers: dict[int, _Answer] = {}  # by number
        self._announced: set[int] = set()  # released by the broker, and the caller has not answered yet

    def forget(self) -> None:
        """Drop all ids of QoS 2: the broker has lost the session."""
        self._held = {}
        for packet_id in sorted(self._kept):
            self._drop(packet_id)

    @property
    def free(self) -> int:
        """How many more messages may be unacknowledged before it is a violation."""
        return self._settings.receive_max + self._settings.tolerance - len(self._arrivals)

    def add(self, packet_ids: list[int]) -> int:
        """Take in messages that are handed out; return the number of the first."""
        return self._arrivals.add(packet_ids)

    def sift(self, packets: list[PublishPacket]) -> tuple[list[PublishPacket], list[bytes], FramingFault | None]:
        """Look at messages one by one, before those to hand out are added.

        Return them with their full topics, the acknowledgements of repeated ones, and the fault behind them, if any.
        """
        sound: list[PublishPacket] = []
        answers: list[bytes] = []
        fault: FramingFault | None = None
        free = self.free - len(self._kept)
        for packet in packets:
            free -= packet.packet_id is not None
            fault = message_fault(packet, free)
            full = packet if fault is not None or packet.topic_alias is None else self._with_topic(packet)
            if isinstance(full, FramingFault):
                fault = full
            elif fault is None and packet.qos != QoS.EXACTLY_ONCE:
                sound.append(full)
            elif fault is None:
                known = self._known(packet.packet_id or 0)
                if known is None:
                    sound.append(full)
                elif isinstance(known, bytes):
                    answers.append(known)
                else:
                    fault = known
            if fault is not None:
                break
        self._hand_out(sound)
        return sound, answers, fault

    def settle(self, first: int, count: int) -> tuple[bytes, int]:
        """Mark messages as done; return the acknowledgements that may now leave, and their number."""
        if not count:
            return b"", 0
        before = len(self._arrivals)
        encoded = self._arrivals.settle(first, count)
        return encoded, before - len(self._arrivals)

    def adopt(self, generation: int, first: int, count: int) -> tuple[bytes, int]:
        """Mark messages of an older connection as done: those of QoS 2 among them are kept from now on.

        Return the acknowledgements that may now leave, and the number of messages that were kept.
        """
        numbers = range(first, first + count)
        done = [packet_id for packet_id, (of, number) in self._held.items() if of == generation and number in numbers]
        acks = b""
        for packet_id in done:
            resent = self._resent.pop(packet_id, None)
            if resent is not None:
                acks += self._arrivals.settle(resent, 1)
            else:
                del self._held[packet_id]
                self._keep(packet_id)
        return acks, len(done)

    def answer(self, generation: int, number: int, packet: PubAckPacket | PubRecPacket) -> None:
        """Answer a message with this packet once it is settled, instead of with a success.

        One of QoS 2 of an older connection that is refused before it comes again is handed out when it does.
        """
        if generation != self._generation:
            resent = self._resent.get(packet.packet_id)
            if resent is None:
                if refuses(packet.reason_code):
                    self._held.pop(packet.packet_id, None)
                return
            number = resent
        keeps = isinstance(packet, PubRecPacket) and not refuses(packet.reason_code)
        self._answers[number] = _Answer(packet.packet_id, packet.write(), keeps)

    def released(self, packet_id: int) -> bytes | FramingFault | None:
        """Take in a PUBREL; return the PUBCOMP, or the fault, or None when no such id is kept."""
        if packet_id in self._held:
            return protocol_error(f"a PUBREL for packet id {packet_id}, which was not answered yet")
        if packet_id not in self._kept:
            return None
        self._drop(packet_id)
        return PubCompPacket(packet_id).write()

    def announced(self, packets: list[PubRelPacket]) -> tuple[list[PubRelPacket], FramingFault | None]:
        """Return those PUBRELs that the caller has to answer, each id once, and the fault behind them."""
        fresh: list[PubRelPacket] = []
        for packet in packets:
            if not packet.packet_id or packet.packet_id in self._held:
                fault = protocol_error(f"a PUBREL for packet id {packet.packet_id}, which was not answered yet")
                return fresh, fault
            if packet.packet_id not in self._announced:
                self._announced.add(packet.packet_id)
                fresh.append(packet)
        return fresh, None

    def completed(self, packet: PubCompPacket) -> bytes:
        """Take in the caller's answer to a PUBREL; return it as bytes."""
        self._announced.discard(packet.packet_id)
        self._drop(packet.packet_id)
        return packet.write()

    # Inner steps

    def _known(self, packet_id: int) -> bytes | FramingFault | None:
        """Return the answer to a message of QoS 2 that came before, the fault of it, or None when it is a new one."""
        if packet_id in self._kept:
            self.repeated += 1
            return PubRecPacket(packet_id).write()
        if packet_id not in self._held:
            return None
        generation, _ = self._held[packet_id]
        if generation == self._generation or packet_id in self._resent:
            return protocol_error(f"packet id {packet_id} for a second message of QoS 2")  # [MQTT-4.3.3-2]
        self.repeated += 1
        self._resent[packet_id] = number = self._arrivals.add([packet_id])
        self._answers[number] = _Answer(packet_id, PubRecPacket(packet_id).write(), keeps=True)
        return b""

    def _hand_out(self, sound: list[PublishPacket]) -> None:
        """Hold the messages of QoS 2 among those that are about to be added."""
        number = self._arrivals.next_number
        for packet in sound:
            if packet.packet_id is None:
                continue
            if packet.qos == QoS.EXACTLY_ONCE:
                self._held[packet.packet_id] = (self._generation, number)
                self._answers[number] = _Answer(packet.packet_id, PubRecPacket(packet.packet_id).write(), keeps=True)
            number += 1

    def _encoded(self, first: int, packet_ids: list[int]) -> bytes:
        if not self._answers:
            return pubacks(packet_ids)
        parts = []
        for number, packet_id in enumerate(packet_ids, first):
            answer = self._answers.pop(number, None)
            if answer is None:
                parts.append(pubacks([packet_id]))
                continue
            if self._held.pop(packet_id, None) is not None and answer.keeps:
                self._keep(packet_id)
            parts.append(answer.encoded)
        return b"".join(parts)

    def _keep(self, packet_id: int) -> None:
        if self._journal is not None:
            self._journal.kept(packet_id)
        self._kept.add(packet_id)

    def _drop(self, packet_id: int) -> None:
        self._kept.discard(packet_id)
        if self._journal is not None:
            self._journal.released(packet_id)

    def _with_topic(self, packet: PublishPacket) -> PublishPacket | FramingFault:
        """Return the message with the topic that its alias stands for (§3.3.2.3.4)."""
        alias = packet.topic_alias
        assert alias is not None  # noqa: S101 - the caller has looked
        if not 0 < alias <= self._settings.topic_alias_max:
            most = self._settings.topic_alias_max
            detail = f"topic alias {alias}, {f'1 to {most} were' if most else 'none was'} allowed"
            return FramingFault(DisconnectReasonCode.TOPIC_ALIAS_INVALID, detail)
        if packet.topic:
            self._aliases[alias] = packet.topic
            return packet
        topic = self._aliases.get(alias)
        if topic is None:
            return protocol_error(f"topic alias {alias} before its topic")
        return PublishPacket(
            topic,
            packet.payload,
            qos=packet.qos,
            retain=packet.retain,
            packet_id=packet.packet_id,
            duplicate=packet.duplicate,
            payload_format_indicator=packet.payload_format_indicator,
            message_expiry_interval=packet.message_expiry_interval,
            content_type=packet.content_type,
            response_topic=packet.response_topic,
            correlation_data=packet.correlation_data,
            subscription_ids=packet.subscription_ids,
            topic_alias=alias,
            user_properties=packet.user_properties,
        )
