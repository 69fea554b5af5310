"""The packet ids in use, and the messages of the broker that are not acknowledged yet. No I/O.

It gets their acknowledgements in arrival order, whatever order we finish them in (MQTT 5 §4.6).
"""

import heapq
from array import array
from collections import deque
from collections.abc import Callable

PUBACK_HEADER = b"\x40\x02"
"""A PUBACK of success: type 4, two bytes follow, reason code and properties left out (§3.4.2.1)."""

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

    def skip_to(self, packet_id: int) -> None:
        """Go on after this id, as if it had been the last one taken."""
        if packet_id >= len(self._used):
            self._used.extend(bytes(packet_id + 1 - len(self._used)))
        self._last = packet_id

    def claim(self, packet_id: int) -> None:
        """Take the id that a caller has chosen. Raises ValueError for one that is in use, or is none."""
        if not 0 < packet_id <= LAST_PACKET_ID:
            raise ValueError(f"a packet id is a number from 1 to {LAST_PACKET_ID}, {packet_id} is not")
        if packet_id >= len(self._used):
            self._used.extend(bytes(packet_id + 1 - len(self._used)))
        if self._used[packet_id]:
            raise ValueError(f"packet id {packet_id} is in use: its packet is not answered yet")
        self._used[packet_id] = True

    def give_back(self, packet_id: int) -> None:
        """Free a packet id: its packet was answered, or will be by nobody."""
        self._used[packet_id] = False


class Arrivals:
    """Unacknowledged inbound messages of one connection, numbered from 0 in the order they came in.

    Numbers, not packet ids, name a message here: an id may be used again, a number never is.
    """

    __slots__ = ("_base", "_encoded", "_held", "_ids")

    def __init__(self, encoded: Callable[[int, list[int]], bytes] | None = None) -> None:
        """``encoded`` returns the acknowledgements of messages from a number on, by their ids; PUBACKs if left out."""
        self._encoded = encoded or (lambda _, packet_ids: pubacks(packet_ids))
        self._ids: deque[int] = deque()
        self._base = 0  # number of the oldest message that is not acknowledged
        self._held: list[tuple[int, int]] = []  # settled out of order: a heap of [first, end)

    def __len__(self) -> int:
        """Return the number of messages for which the broker waits for an acknowledgement."""
        return len(self._ids)

    @property
    def next_number(self) -> int:
        """The number of the next message."""
        return self._base + len(self._ids)

    def add(self, packet_ids: list[int]) -> int:
        """Take in messages; return the number of the first one."""
        first = self._base + len(self._ids)
        self._ids.extend(packet_ids)
        return first

    def settle(self, first: int, count: int) -> bytes:
        """Mark ``count`` messages from number ``first`` as done; return the acknowledgements that may now leave.

        What is done before an older message is done waits for it. To settle twice is harmless.
        """
        arrived = self._base + len(self._ids)
        heapq.heappush(self._held, (first, min(first + count, arrived)))
        end = self._base
        while self._held and self._held[0][0] <= end:
            end = max(end, heapq.heappop(self._held)[1])
        return self._take(end - self._base)

    @property
    def settled(self) -> set[int]:
        """The numbers of messages that are done and wait for an older one."""
        return {number for first, end in self._held for number in range(max(first, self._base), end)}

    def _take(self, count: int) -> bytes:
        if not count:
            return b""
        popleft = self._ids.popleft
        packet_ids = [popleft() for _ in range(count)]
        first = self._base
        self._base += count
        return self._encoded(first, packet_ids)


def pubacks(packet_ids: list[int]) -> bytes:
    """Concatenated PUBACK packets of success."""
    numbers = array("H", packet_ids).tobytes()
    low, high = (numbers[0::2], numbers[1::2]) if _LITTLE_ENDIAN else (numbers[1::2], numbers[0::2])
    packets = bytearray(PUBACK_HEADER + b"\0\0") * len(packet_ids)
    packets[2::4] = high
    packets[3::4] = low
    return bytes(packets)


_LITTLE_ENDIAN = array("H", [1]).tobytes()[0] == 1
