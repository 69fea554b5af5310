"""The hook by which a program keeps over a crash what a session has in memory.

Without one, a crash of our process forgets which messages of ours are under way and which packet ids of QoS 2 were
answered: a message of ours may be lost or, published again, come twice, and a message of QoS 2 whose PUBREC the broker
did not get is handed out again. The broker keeps its half of the session (MQTT 5 §4.1), a journal ours.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Saved:
    """What a journal holds: the packets to send again, oldest first, and the ids of QoS 2 that wait for a PUBREL.

    A packet is a whole PUBLISH or PUBREL, as ``Journal.sent`` got it.
    """

    outgoing: Sequence[tuple[int, bytes]] = ()
    kept: Collection[int] = ()


class Journal(Protocol):
    """Keeps the changes of a session. Each call returns when its change is safe: only then the packet may leave.

    The calls come from the event loop, so they should take no longer than a write to a local disk. An error that one
    raises ends the client.
    """

    def load(self) -> Saved:
        """Return what is held; called when the client is entered."""
        ...

    def sent(self, packet_id: int, packet: bytes) -> None:
        """Hold a packet of ours until it is settled. A PUBREL takes the place of the PUBLISH, and goes to the end."""
        ...

    def settled(self, packet_id: int) -> None:
        """Drop the packet of this id: the broker has answered it, or never will."""
        ...

    def kept(self, packet_id: int) -> None:
        """Hold the id of a received message of QoS 2, which is about to be answered by PUBREC."""
        ...

    def released(self, packet_id: int) -> None:
        """Drop the id of a received message: the broker will not send it again."""
        ...
