"""Our own messages on their way to the broker, by packet id. No I/O.

Theory. Each message is sent until it is answered, at most as many at once as the broker takes (MQTT 5 §4.9). One of
QoS 1 ends with its PUBACK. One of QoS 2 goes through the stages below (§4.3.3): after PUBREC the broker has it, and
never gets the message again; after PUBREL the PUBREL is what is sent again. ``STEPS`` says what follows; a step that is
not there is a protocol error of whoever took it.

On a session that was kept, PUBRELs go out again in the order of their PUBRECs ([MQTT-4.6.0-4]), then the PUBLISH
packets in their original order, marked DUP ([MQTT-4.4.0-1], §3.3.1.1). Of a broker that lost the session, messages of
QoS 1 are sent as new ones; one of QoS 2 ends, since nobody can tell any more whether it arrived, and one that the
broker had answered by PUBREC has arrived. An exchange of QoS 2 that somebody else left in the session is ended by the
answer that we know nothing of it (reason code 0x92): see ``Strays``. So is one of ours whose message the broker's new
limits do not allow: its packet id may not be used again before the broker has dropped it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from mqtt5 import PubRelPacket, PubRelReasonCode

from appliance.mqtt.inflight import LAST_PACKET_ID, RESERVED_IDS

DUP = 0x08
QOS_2 = 0x04
"""In the first byte of a PUBLISH (§3.3.1)."""
PUBREL = 0x6
"""The packet type, in the upper half of the first byte (§2.1.2)."""


class ExchangeState(Enum):
    """How far a message of QoS 2 is."""

    PUBLISHED = "published"  # waits for PUBREC
    RECEIVED = "received"  # the broker has it, PUBREL is not sent
    RELEASED = "released"  # waits for PUBCOMP


class ExchangeStep(Enum):
    """What moves a message of QoS 2 on."""

    PUBREC = "PUBREC"
    REFUSED = "PUBREC of refusal"  # reason code 0x80 or above
    PUBREL = "PUBREL"  # ours
    PUBCOMP = "PUBCOMP"


STEPS: dict[tuple[ExchangeState, ExchangeStep], ExchangeState | None] = {
    (ExchangeState.PUBLISHED, ExchangeStep.PUBREC): ExchangeState.RECEIVED,
    (ExchangeState.PUBLISHED, ExchangeStep.REFUSED): None,
    (ExchangeState.RECEIVED, ExchangeStep.PUBREC): ExchangeState.RECEIVED,  # said twice
    (ExchangeState.RECEIVED, ExchangeStep.PUBREL): ExchangeState.RELEASED,
    (ExchangeState.RELEASED, ExchangeStep.PUBREC): ExchangeState.RELEASED,  # said twice: our PUBREL was on its way
    (ExchangeState.RELEASED, ExchangeStep.PUBREL): ExchangeState.RELEASED,
    (ExchangeState.RELEASED, ExchangeStep.PUBCOMP): None,
}
"""The next stage; None: the exchange has ended, and its packet id is free."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What became of messages of a former connection that are not sent again, by packet id."""

    refused: tuple[int, ...] = ()  # the broker's limits no longer allow them
    in_doubt: tuple[int, ...] = ()  # of QoS 2, and the session is lost: nobody knows whether they arrived
    arrived: tuple[int, ...] = ()  # of QoS 2, and the broker had said so before it lost the session
    withdrawn: tuple[int, ...] = ()  # of QoS 2, no longer allowed, and perhaps arrived; each id is still in use

    @property
    def ended(self) -> tuple[int, ...]:
        """Those whose packet id is free."""
        return self.refused + self.in_doubt + self.arrived


class Outgoing:
    """See the module's docstring. Without a connection the window is 0."""

    __slots__ = ("_again", "_beyond", "_due", "_sent", "_window")

    def __init__(self, saved: Sequence[tuple[int, bytes]] = ()) -> None:
        self._sent: dict[int, bytes] = {}  # PUBLISH packets without an answer on this connection, oldest first
        self._again: deque[tuple[int, bytes]] = deque()  # those of a former one that wait for their turn
        self._beyond: dict[int, bytes | None] = {}  # answered by PUBREC: the PUBREL, None before it is sent
        self._due: deque[bytes] = deque()  # PUBRELs to send again
        self._window = 0
        for packet_id, packet in saved:
            if packet[0] >> 4 == PUBREL:
                self._beyond[packet_id] = packet
            else:
                self._again.append((packet_id, packet))

    def __len__(self) -> int:
        """Return the number of messages whose exchange has not ended, sent on this connection or not."""
        return len(self._sent) + len(self._again) + len(self._beyond)

    @property
    def room(self) -> int:
        """How many new messages may be sent now; none before all of the former connection have gone out."""
        return 0 if self._again else self._window - len(self._sent) - len(self._beyond)

    def __contains__(self, packet_id: int) -> bool:
        """Return whether a message of that id is under way on this connection."""
        return packet_id in self._sent or packet_id in self._beyond

    def waiting(self, packet_id: int) -> bool:
        """Return whether a message of that id waits to be sent again."""
        return any(number == packet_id for number, _ in self._again)

    def add(self, packet_id: int, encoded: bytes) -> None:
        """Take in a message that is being sent; the caller saw ``room``."""
        self._sent[packet_id] = encoded

    def acknowledge(self, packet_id: int) -> bool:
        """End a message of QoS 1 by its PUBACK; return False when none of that id is under way on this connection."""
        encoded = self._sent.get(packet_id)
        if encoded is None or encoded[0] & QOS_2:
            return False
        del self._sent[packet_id]
        return True

    def stage(self, packet_id: int) -> ExchangeState | None:
        """Return how far the message of QoS 2 with that id is on this connection; None when there is none."""
        if packet_id in self._beyond:
            return ExchangeState.RELEASED if self._beyond[packet_id] is not None else ExchangeState.RECEIVED
        return ExchangeState.PUBLISHED if packet_id in self._sent and self._sent[packet_id][0] & QOS_2 else None

    def answered(self, packet_id: int, step: ExchangeStep) -> bool:
        """Take in a PUBREC or PUBCOMP for a message of QoS 2; return False when it is none that may come now."""
        stage = self.stage(packet_id)
        if stage is None or (stage, step) not in STEPS:
            return False
        if stage is ExchangeState.PUBLISHED:
            del self._sent[packet_id]
        following = STEPS[stage, step]
        if following is None:
            self._beyond.pop(packet_id, None)
        elif following is ExchangeState.RECEIVED:
            self._beyond.setdefault(packet_id, None)
        return True

    def release(self, packet_id: int, encoded: bytes) -> None:
        """Take in a PUBREL that is being sent. The caller has seen the stage; of an unknown id it opens an exchange."""
        self._beyond[packet_id] = encoded

    def suspend(self) -> None:
        """End the connection: everything unanswered waits for the next one, in its order."""
        self._again.extendleft(reversed(self._sent.items()))
        self._sent = {}
        self._due.clear()
        self._window = 0

    def resume(self, window: int, *, kept: bool, sendable: Callable[[bytes], bool]) -> Resumption:
        """Start a connection to a broker that takes ``window`` messages at once, and may have kept the session."""
        self._window = min(window, LAST_PACKET_ID - RESERVED_IDS)
        arrived: tuple[int, ...] = ()
        if not kept:
            arrived = tuple(self._beyond)
            self._beyond = {}
        self._due.extend(packet for packet in self._beyond.values() if packet is not None)
        again: deque[tuple[int, bytes]] = deque()
        refused, in_doubt, withdrawn = [], [], []
        for packet_id, encoded in self._again:
            if encoded[0] & QOS_2 and not kept:
                in_doubt.append(packet_id)
            elif sendable(encoded):
                again.append((packet_id, _marked(encoded, duplicate=kept)))
            elif encoded[0] & QOS_2:
                withdrawn.append(packet_id)
                self._beyond[packet_id] = withdrawal(packet_id)
                self._due.append(withdrawal(packet_id))
            else:
                refused.append(packet_id)
        self._again = again
        return Resumption(tuple(refused), tuple(in_doubt), arrived, tuple(withdrawn))

    def due(self) -> Iterator[bytes]:
        """Yield what of the former connection may be sent now; to be asked again after acknowledgements."""
        while self._due:
            yield self._due.popleft()
        while self._again and len(self._sent) + len(self._beyond) < self._window:
            packet_id, encoded = self._again.popleft()
            self._sent[packet_id] = encoded
            yield encoded


def withdrawal(packet_id: int) -> bytes:
    """Return the PUBREL that ends an exchange of which we have no message any more, and frees its id at the broker."""
    return PubRelPacket(packet_id, reason_code=PubRelReasonCode.PACKET_ID_NOT_FOUND).write()


def _marked(encoded: bytes, *, duplicate: bool) -> bytes:
    first = encoded[0] | DUP if duplicate else encoded[0] & ~DUP
    return bytes((first,)) + encoded[1:]
