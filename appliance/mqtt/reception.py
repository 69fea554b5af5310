"""The broker's messages to us on one session: their acknowledgements, topic aliases, and the ids of QoS 2. No I/O.

Theory. QoS 2 is received by method B (MQTT 5 §4.3.3): a message is handed out once, when it comes. It is in one of two
states, by its packet id, which live as long as the session, over connections:

| state | since                    | the message comes again                       | PUBREL                     |
|-------|--------------------------|-----------------------------------------------|----------------------------|
| held  | it was handed out        | on a later connection: PUBREC once it is done | protocol error             |
| kept  | its PUBREC could leave   | PUBREC once more                              | PUBCOMP, and the id is free|

So what was handed out is not handed out again, whatever becomes of the connection, and what its caller acknowledges
after the connection was lost is acknowledged all the same. What is done and still waits for older messages when the
connection is lost is kept. PUBRECs leave in the order of arrival, also those of messages that come again
([MQTT-4.6.0-3]): one that is kept is held again while older ones wait. Aliases, and that order, belong to one
connection.

The usual case, messages of QoS 0 and 1 with a topic each, passes by all of this: see ``Session._on_publishes``.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

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

Fault: TypeAlias = FramingFault | None
Sifted: TypeAlias = tuple[list[PublishPacket], bytes, Fault]
"""Messages to hand out with their full topics, acknowledgements of those that came again, the fault behind both."""


@dataclass(slots=True)
class _Held:
    """A message of QoS 2 that was handed out as ``number`` of connection ``generation``, with the answer it will get.

    ``keeps``: that is no refusal. ``settled``: its caller is done, or has none any more.
    """

    generation: int
    number: int
    encoded: bytes
    keeps: bool = True
    settled: bool = False


class Reception:
    """See the module's docstring. ``repeated`` counts messages of QoS 2 that came again and were not handed out."""

    __slots__ = (
        "_again",
        "_aliases",
        "_announced",
        "_answers",
        "_arrivals",
        "_generation",
        "_held",
        "_journal",
        "_kept",
        "_places",
        "_settings",
        "_slots",
        "repeated",
    )

    def __init__(self, settings: Settings, journal: Journal | None, kept: Collection[int] = ()) -> None:
        self.repeated = 0
        self._settings = settings
        self._journal = journal
        self._kept = set(kept)
        self._held: dict[int, _Held] = {}  # by packet id
        self._places: dict[tuple[int, int], int] = {}  # generation and number -> packet id of what is held
        self._generation = 0
        self._clear()

    def __len__(self) -> int:
        """Return the number of messages that are not acknowledged on this connection."""
        return len(self._arrivals)

    def begin(self, generation: int) -> None:
        """Start a new connection, with its number.

        A caller that answers by itself (``Settings.manual``) was told that the connection is lost, and expects what it
        has not answered to come again: that is held no longer.
        """
        self._generation = generation
        self._clear()
        if self._settings.manual:
            self._held = {packet_id: held for packet_id, held in self._held.items() if held.settled}
            self._places = {}

    def end(self) -> None:
        """End the connection: what its callers are done with is not forgotten, though its answer could not leave."""
        waiting, settled = self._slots, self._arrivals.settled
        self._clear()
        for number in settled:
            if number in waiting:
                self._done(waiting[number])

    def _clear(self) -> None:
        self._arrivals = Arrivals(self._encoded)
        self._aliases: dict[int, str] = {}
        self._slots: dict[int, int] = {}  # number -> packet id of QoS 2, unanswered on this connection
        self._again: dict[int, int] = {}  # ... and back, of those that came again
        self._answers: dict[int, bytes] = {}  # number -> PUBACK that says more than success
        self._announced: set[int] = set()  # released by the broker, and the caller has not answered yet

    def forget(self) -> None:
        """Drop all ids of QoS 2: the broker has lost the session."""
        self._held = {}
        self._places = {}
        for packet_id in sorted(self._kept):
            self._drop(packet_id)

    @property
    def free(self) -> int:
        """How many more messages may be unacknowledged before it is a violation."""
        return self._settings.receive_max + self._settings.tolerance - len(self._arrivals)

    def add(self, packet_ids: list[int]) -> int:
        """Take in messages that are handed out; return the number of the first."""
        return self._arrivals.add(packet_ids)

    def sift(self, packets: list[PublishPacket]) -> Iterator[Sifted]:
        """Look at messages one by one, and yield what to do. What is to be handed out is added before the next step."""
        while packets:
            sound, packets, answers, fault = self._sifted(packets)
            self._hand_out(sound)
            yield sound, answers, fault
            if fault is not None:
                return

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
        done = [packet_id for packet_id in map(self._places.get, self._among(generation, first, count)) if packet_id]
        acks = b""
        for packet_id in done:
            number = self._again.get(packet_id)
            if number is None:
                self._done(packet_id)
            else:
                acks += self._arrivals.settle(number, 1)
        return acks, len(done)

    def answer(self, generation: int, number: int, packet: PubAckPacket | PubRecPacket) -> None:
        """Answer a message with this packet once it is settled, instead of with a success."""
        if isinstance(packet, PubAckPacket):
            if generation == self._generation:
                self._answers[number] = packet.write()
            return
        held = self._held.get(self._places.get((generation, number), 0))
        if held is not None:
            held.encoded = packet.write()
            held.keeps = not refuses(packet.reason_code)

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

    def _sifted(self, packets: list[PublishPacket]) -> tuple[list[PublishPacket], list[PublishPacket], bytes, Fault]:
        """Return what ``sift`` yields and, second, the messages from the first on that comes again behind new ones."""
        sound: list[PublishPacket] = []
        fresh: set[int] = set()  # packet ids of QoS 2 among them
        answers: list[bytes] = []
        fault: Fault = None
        free = self.free - len(self._kept)
        for index, packet in enumerate(packets):
            exact = packet.qos == QoS.EXACTLY_ONCE
            again = exact and (packet.packet_id in self._kept or packet.packet_id in self._held)
            if again and sound:
                return sound, packets[index:], b"".join(answers), None
            free -= packet.packet_id is not None and not (exact and packet.packet_id in self._kept)
            fault = message_fault(packet, free)
            full = packet if fault is not None or packet.topic_alias is None else self._with_topic(packet)
            if isinstance(full, FramingFault):
                fault = full
            elif fault is None and again:
                answer = self._repeated(packet.packet_id or 0)
                if isinstance(answer, bytes):
                    answers.append(answer)
                else:
                    fault = answer
            elif fault is None and exact and packet.packet_id in fresh:
                fault = _second(packet.packet_id or 0)
            elif fault is None:
                if exact:
                    fresh.add(packet.packet_id or 0)
                sound.append(full)
            if fault is not None:
                break
        return sound, [], b"".join(answers), fault

    def _repeated(self, packet_id: int) -> bytes | FramingFault:
        """Return the answers that may leave now for a message that is held or kept, or the fault that it comes."""
        held = self._held.get(packet_id)
        if held is None:
            encoded = PubRecPacket(packet_id).write()
            if not len(self._arrivals):
                self.repeated += 1
                return encoded
            self._kept.discard(packet_id)
            held = self._held[packet_id] = _Held(0, 0, encoded, settled=True)
        elif held.generation == self._generation or packet_id in self._again:
            return _second(packet_id)
        self.repeated += 1
        self._again[packet_id] = number = self._arrivals.add([packet_id])
        self._slots[number] = packet_id
        return self._arrivals.settle(number, 1) if held.settled else b""

    def _hand_out(self, sound: list[PublishPacket]) -> None:
        """Hold the messages of QoS 2 among those that are about to be added."""
        number = self._arrivals.next_number
        for packet in sound:
            packet_id = packet.packet_id
            if packet_id is None:
                continue
            if packet.qos == QoS.EXACTLY_ONCE:
                self._held[packet_id] = _Held(self._generation, number, PubRecPacket(packet_id).write())
                self._places[self._generation, number] = self._slots[number] = packet_id
            number += 1

    def _among(self, generation: int, first: int, count: int) -> Iterable[tuple[int, int]]:
        """Yield the places from ``first`` on that may be held, whichever of the two ways is shorter."""
        if count <= len(self._places):
            return [(generation, number) for number in range(first, first + count)]
        return [place for place in self._places if place[0] == generation and first <= place[1] < first + count]

    def _encoded(self, first: int, packet_ids: list[int]) -> bytes:
        if not self._slots and not self._answers:
            return pubacks(packet_ids)
        parts = []
        for number, packet_id in enumerate(packet_ids, first):
            if self._slots.pop(number, None) is not None:
                parts.append(self._answered(packet_id))
            else:
                parts.append(self._answers.pop(number, b"") or pubacks([packet_id]))
        return b"".join(parts)

    def _answered(self, packet_id: int) -> bytes:
        """End the wait for the caller; return the PUBREC."""
        held = self._held.pop(packet_id)
        self._places.pop((held.generation, held.number), None)
        self._again.pop(packet_id, None)
        if held.keeps:
            self._keep(packet_id)
        return held.encoded

    def _done(self, packet_id: int) -> None:
        """Note that the caller of a message is done, while there is no connection that waits for the answer."""
        held = self._held[packet_id]
        if held.keeps:
            self._answered(packet_id)
        else:
            held.settled = True  # it is refused when it comes again

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


def _second(packet_id: int) -> FramingFault:
    return protocol_error(f"packet id {packet_id} for a second message of QoS 2")  # [MQTT-4.3.3-2]
