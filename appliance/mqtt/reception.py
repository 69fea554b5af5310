"""The broker's messages to us on one session: their acknowledgements, topic aliases, and the ids of QoS 2. No I/O.

Theory. QoS 2 is received by method B (MQTT 5 §4.3.3): a message is handed out once, when it comes; its acknowledgement
is PUBREC, and from then on its packet id is kept until the broker sends PUBREL. What comes with a kept id is the same
message again, since the broker did not get our PUBREC: it is answered once more and not handed out. Kept ids live as
long as the session, over connections. Aliases, and what is not acknowledged, belong to one connection.

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
        "_journal",
        "_kept",
        "_open",
        "_settings",
        "repeated",
    )

    def __init__(self, settings: Settings, journal: Journal | None, kept: Collection[int] = ()) -> None:
        self.repeated = 0
        self._settings = settings
        self._journal = journal
        self._kept = set(kept)
        self.begin()

    def __len__(self) -> int:
        """Return the number of messages that are not acknowledged on this connection."""
        return len(self._arrivals)

    def begin(self) -> None:
        """Start a new connection."""
        self._arrivals = Arrivals(self._encoded)
        self._aliases: dict[int, str] = {}
        self._open: dict[int, int] = {}  # QoS 2 ids that were handed out and not answered -> number
        self._answers: dict[int, _Answer] = {}  # by number
        self._announced: set[int] = set()  # released by the broker, and the caller has not answered yet

    def forget(self) -> None:
        """Drop the kept ids: the broker has lost the session."""
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
        free = self.free - len(self._kept)
        number = self._arrivals.next_number
        for packet in packets:
            free -= packet.packet_id is not None
            fault = message_fault(packet, free)
            full = packet if fault is not None or packet.topic_alias is None else self._with_topic(packet)
            if isinstance(full, FramingFault):
                fault = full
            elif fault is None and packet.qos == QoS.EXACTLY_ONCE:
                assert packet.packet_id is not None  # noqa: S101 - the codec gives every message of QoS 2 one
                if packet.packet_id in self._kept:
                    self.repeated += 1
                    answers.append(PubRecPacket(packet.packet_id).write())
                    continue
                fault = self._open_exchange(packet.packet_id, number)
            if fault is not None or isinstance(full, FramingFault):
                return sound, answers, fault
            sound.append(full)
            number += packet.packet_id is not None
        return sound, answers, None

    def settle(self, first: int, count: int) -> tuple[bytes, int]:
        """Mark messages as done; return the acknowledgements that may now leave, and their number."""
        before = len(self._arrivals)
        encoded = self._arrivals.settle(first, count)
        return encoded, before - len(self._arrivals)

    def answer(self, number: int, packet: PubAckPacket | PubRecPacket) -> None:
        """Answer message ``number`` with this packet once it is settled, instead of with a success."""
        keeps = isinstance(packet, PubRecPacket) and not refuses(packet.reason_code)
        self._answers[number] = _Answer(packet.packet_id, packet.write(), keeps)

    def released(self, packet_id: int) -> bytes | FramingFault | None:
        """Take in a PUBREL; return the PUBCOMP, or the fault, or None when no such id is kept."""
        if packet_id in self._open:
            return protocol_error(f"a PUBREL for packet id {packet_id}, which was not answered yet")
        if packet_id not in self._kept:
            return None
        self._drop(packet_id)
        return PubCompPacket(packet_id).write()

    def announced(self, packets: list[PubRelPacket]) -> tuple[list[PubRelPacket], FramingFault | None]:
        """Return those PUBRELs that the caller has to answer, each id once, and the fault behind them."""
        fresh: list[PubRelPacket] = []
        for packet in packets:
            if not packet.packet_id or packet.packet_id in self._open:
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

    def _open_exchange(self, packet_id: int, number: int) -> FramingFault | None:
        if packet_id in self._open:
            return protocol_error(f"packet id {packet_id} for a second message of QoS 2")  # [MQTT-4.3.3-2]
        self._open[packet_id] = number
        self._answers[number] = _Answer(packet_id, PubRecPacket(packet_id).write(), keeps=True)
        return None

    def _encoded(self, first: int, packet_ids: list[int]) -> bytes:
        if not self._answers:
            return pubacks(packet_ids)
        parts = []
        for number, packet_id in enumerate(packet_ids, first):
            answer = self._answers.pop(number, None)
            if answer is None:
                parts.append(pubacks([packet_id]))
                continue
            if self._open.pop(packet_id, None) is not None and answer.keeps:
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
