"""Messages that were sent and not yet acknowledged, in either direction.

``Arrivals`` are the broker's QoS 1 messages: it gets their PUBACKs in arrival order, whatever order we finish them
in (MQTT 5 §4.6). ``Outgoing`` are ours: at most as many at once as the broker takes, sent again in their original
order when a session is resumed (§4.4).
"""

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Container, Iterator

PUBACK_HEADER = b"\x40\x02"
"""A PUBACK of success: type 4, two bytes follow, reason code and properties left out (§3.4.2.1)."""

DUP = 0x08
LAST_PACKET_ID = 65535


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

    __slots__ = ("_again", "_last_id", "_sent", "_window")

    def __init__(self) -> None:
        self._sent: dict[int, bytes] = {}  # on this connection, oldest first
        self._again: deque[tuple[int, bytes]] = deque()  # waiting for their turn after a reconnect
        self._window = 0
        self._last_id = 0

    def __len__(self) -> int:
        """Return the number of messages that the broker has not acknowledged, sent on this connection or not."""
        return len(self._sent) + len(self._again)

    @property
    def room(self) -> int:
        """How many new messages may be sent now; none before all of the former connection have gone out."""
        return 0 if self._again else self._window - len(self._sent)

    def free_id(self, taken: Container[int] = ()) -> int:
        """Return a packet id that nothing uses; ``taken`` are those of subscriptions under way (§2.2.1)."""
        waiting = {packet_id for packet_id, _ in self._again}
        while True:
            self._last_id = self._last_id % LAST_PACKET_ID + 1
            if self._last_id not in self._sent and self._last_id not in taken and self._last_id not in waiting:
                return self._last_id

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
        self._window = min(window, LAST_PACKET_ID)
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
