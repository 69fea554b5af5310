"""The bytes that a session has to send, until its shell takes them. No I/O."""

MAX_UNSENT_ACKS = 1024 * 1024
"""Bytes of acknowledgements that wait to be written, at most: four each, so those of four windows of 65,535 messages. A
broker that works comes nowhere near: it takes them before it may send as many."""


class Output:
    """Packets in the order in which they leave."""

    __slots__ = ("_acks", "_packets")

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self._acks = 0  # bytes of acknowledgements among them

    def __bool__(self) -> bool:
        """Return whether there is anything to send."""
        return bool(self._packets)

    @property
    def backed_up(self) -> bool:
        """Whether the broker takes no acknowledgements."""
        return self._acks > MAX_UNSENT_ACKS

    def write(self, packet: bytes) -> None:
        """Add a packet."""
        self._packets.append(packet)

    def acknowledge(self, packets: bytes) -> None:
        """Add acknowledgements of what the broker sent: there is no end to them but its own limits."""
        self._packets.append(packets)
        self._acks += len(packets)

    def take(self) -> bytes:
        """Return everything, once."""
        data = b"".join(self._packets)
        self.clear()
        return data

    def clear(self) -> None:
        """Forget everything: its connection is over."""
        self._packets = []
        self._acks = 0
