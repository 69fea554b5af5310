"""Messages that were sent and not yet acknowledged, in either direction, and the packet ids that ours use.

``Arrivals`` are the broker's QoS 1 messages: it gets their PUBACKs in arrival order, whatever order we finish them
in (MQTT 5 §4.6). ``Outgoing`` are ours: at most as many at once as the broker takes, sent again in their original
order when a session is resumed (§4.4).
"""

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterator

PUBACK_HEADER = b"\x40\x02"
"""A PUBACK of success: type 4, two bytes follow, reason code and properties left out (§3.4.2.1)."""

DUP = 0x08
LAST_PACKET_ID = 65535

RESERVED_IDS = 64
"""Packet ids that messages leave free, so that no amount of them holds back a SUBSCRIBE or an UNSUBSCRIBE
([MQTT-3.3.4-8]): these take their ids from the same 65,535 (§2.2.1). So many requests may be under way at once."""


FEW_IDS = 256
"""Packet ids of which a client keeps track at first: most clients publish little, and live shortly."""


class PacketIds:
    """The packet ids in use, by messages, subscriptions and their ends alike (MQTT 5 §2.2.1).

    A free one is found by one search of memory, also when nearly all are in use. An id is used again as late as can
    be, so that an answer that comes twice finds nothing to settle.
    """

    __slots__ = ("_last", "_used")

    def __init__(self) -> None:
        self._used = bytearray(FEW_IDS)  # grows to all
        self._used[0] = True  # no packet has the id 0
        self._last = 0

    @property
    def in_use(self) -> int:
        """Return how many are in use."""
        return self._used.count(True) - 1

    def take(self) -> int:
        """Return a free packet id, now in use: the one that was free for longest, roughly.

        Raises RuntimeError when all are in use; the windows of messages and of requests leave one free.
        """
        used = self._used
        packet_id = used.find(False, self._last + 1)
        if packet_id < 0 and len(used) <= LAST_PACKET_ID:
            packet_id = len(used)
            used.extend(bytes(packet_id))
        if packet_id < 0:
            packet_id = used.find(False)
        if packet_id < 0:
            raise RuntimeError("all packet ids are in use")
        used[packet_id] = True
        self._last = packet_id
        return packet_id

    def give_back(self, packet_id: int) -> None:
        """Free a packet id: its packet was answered, or will be by nobody."""
        self._used[packet_id] = False


class Arrivals:
    """Unacknowledged inbound messages of one connection, numbered from 0 in the order they came in.

    Numbers, not packet ids, name a message here: an id may be used again, a number never is.
    """

    __slots__ = ("_base", "_held", "_ids")

    def __init__(self) -> None:
        self._ids: deque[int] = deque()
        self._base = 0  # number of the oldest message that is not acknowledged
        self._held: list[tuple[int, int]] = []  # settled out of order: a heap of [first, end)

    def __len__(self) -> int:
        """Return the number of messages for which the broker waits for an acknowledgement."""
        return len(self._ids)

    def add(self, packet_ids: list[int]) -> int:
        """Take in messages; answers the number of the first one."""
        first = self._base + len(self._ids)
        self._ids.extend(packet_ids)
        return first

    def settle(self, first: int, count: int) -> bytes:
        """Mark ``count`` messages from number ``first`` as done; answers the PUBACKs that may now leave.

        What is done before an older message is done waits for it. To settle twice is harmless.
        """
        arrived = self._base + len(self._ids)
        heapq.heappush(self._held, (first, min(first + count, arrived)))
        end = self._base
        while self._held and self._held[0][0] <= end:
            end = max(end, heapq.heappop(self._held)[1])
        return self._take(end - self._base)

    def _take(self, count: int) -> bytes:
        if not count:
            return b""
        popleft = self._ids.popleft
        packet_ids = [popleft() for _ in range(count)]
        self._base += count
        return pubacks(packet_ids)


def pubacks(packet_ids: list[int]) -> bytes:
    """Concatenated PUBACK packets of success."""
    numbers = array("H", packet_ids).tobytes()
    low, high = (numbers[0::2], numbers[1::2]) if _LITTLE_ENDIAN else (numbers[1::2], numbers[0::2])
    packets = bytearray(PUBACK_HEADER + b"\0\0") * len(packet_ids)
    packets[2::4] = high
    packets[3::4] = low
    return bytes(packets)


_LITTLE_ENDIAN = array("H", [1]).tobytes()[0] == 1


class Outgoing:
    """Our QoS 1 messages by packet id, as encoded bytes. Without a connection the window is 0."""

    __slots__ = ("_again", "_sent", "_window")

    def __init__(self) -> None:
        self._sent: dict[int, bytes] = {}  # on this connection, oldest first
        self._again: deque[tuple[int, bytes]] = deque()  # waiting for their turn after a reconnect
        self._window = 0

    def __len__(self) -> int:
        """Return the number of messages that the broker has not acknowledged, sent on this connection or not."""
        return len(self._sent) + len(self._again)

    @property
    def room(self) -> int:
        """How many new messages may be sent now; none before all of the former connection have gone out."""
        return 0 if self._again else self._window - len(self._sent)

    def __contains__(self, packet_id: int) -> bool:
        """Return whether a message of that id is under way on this connection."""
        return packet_id in self._sent

    def add(self, packet_id: int, encoded: bytes) -> None:
        """Take in a message that is being sent; the caller saw ``room``."""
        self._sent[packet_id] = encoded

    def acknowledge(self, packet_id: int) -> bool:
        """Settle an acknowledged message; return False when nothing of that id is under way on this connection."""
        return self._sent.pop(packet_id, None) is not None

    def suspend(self) -> None:
        """End the connection: everything unacknowledged waits for the next one, in its order."""
        self._again.extendleft(reversed(self._sent.items()))
        self._sent = {}
        self._window = 0

    def resume(self, window: int, *, duplicate: bool, sendable: Callable[[bytes], bool]) -> list[int]:
        """Start a connection to a broker that takes ``window`` messages at once.

        ``duplicate``: the broker kept the session, so what it gets again is marked DUP (§3.3.1.1); of a broker
        that forgot it these are new messages. Return the ids that were given up because it does not take them any more.
        """
        self._window = min(window, LAST_PACKET_ID - RESERVED_IDS)
        kept: deque[tuple[int, bytes]] = deque()
        given_up = []
        for packet_id, encoded in self._again:
            if sendable(encoded):
                kept.append((packet_id, _marked(encoded, duplicate=duplicate)))
            else:
                given_up.append(packet_id)
        self._again = kept
        return given_up

    def due(self) -> Iterator[bytes]:
        """Yield what of the former connection may be sent now; to be asked again after acknowledgements."""
        while self._again and len(self._sent) < self._window:
            packet_id, encoded = self._again.popleft()
            self._sent[packet_id] = encoded
            yield encoded


def _marked(encoded: bytes, *, duplicate: bool) -> bytes:
    first = encoded[0] | DUP if duplicate else encoded[0] & ~DUP
    return bytes((first,)) + encoded[1:]
