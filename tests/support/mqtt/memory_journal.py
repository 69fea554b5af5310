"""A journal in memory that checks what it is told, and knows in which order messages were published."""

import mqtt5
from mqtt5 import PublishPacket

from appliance.mqtt.journal import Saved


class MemoryJournal:
    """Outlives sessions. ``outgoing`` and ``ids`` are what it holds, ``places`` the order of all messages, by payload.

    Raises AssertionError for an id that is used for a second packet before the first was settled.
    """

    def __init__(self) -> None:
        self.outgoing: dict[int, bytes] = {}
        self.ids: set[int] = set()
        self.places: dict[bytes, int] = {}

    def load(self) -> Saved:
        return Saved(tuple(self.outgoing.items()), frozenset(self.ids))

    def sent(self, packet_id: int, packet: bytes) -> None:
        decoded, _ = mqtt5.read(memoryview(packet))
        former = self.outgoing.pop(packet_id, None)
        if isinstance(decoded, PublishPacket):
            assert former is None, f"{packet_id} is in use"
            self.places[decoded.payload] = len(self.places)
        self.outgoing[packet_id] = packet

    def settled(self, packet_id: int) -> None:
        del self.outgoing[packet_id]

    def kept(self, packet_id: int) -> None:
        self.ids.add(packet_id)

    def released(self, packet_id: int) -> None:
        self.ids.discard(packet_id)
