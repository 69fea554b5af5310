"""Claims about the journal: what a session has in memory survives a crash of the process."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import pytest
import trio
from mqtt5 import ConnAckPacket, PubAckPacket, PubCompPacket, PublishPacket, PubRecPacket, PubRelPacket, QoS
from trio.testing import MockClock

from appliance.mqtt.client import Client
from appliance.mqtt.journal import Saved
from appliance.mqtt.session import Session
from appliance.mqtt.terms import Settings
from tests.support.mqtt.scripted import accept, sent, written
from tests.support.mqtt.scripted_broker import ScriptedBroker


class Notebook:
    """A journal in memory, which outlives the sessions of a test. ``full`` is the error of a disk without room."""

    def __init__(self) -> None:
        self.outgoing: dict[int, bytes] = {}
        self.ids: set[int] = set()
        self.full: OSError | None = None

    def load(self) -> Saved:
        return Saved(tuple(self.outgoing.items()), frozenset(self.ids))

    def sent(self, packet_id: int, packet: bytes) -> None:
        if self.full is not None:
            raise self.full
        self.outgoing.pop(packet_id, None)
        self.outgoing[packet_id] = packet

    def settled(self, packet_id: int) -> None:
        del self.outgoing[packet_id]

    def kept(self, packet_id: int) -> None:
        self.ids.add(packet_id)

    def released(self, packet_id: int) -> None:
        self.ids.discard(packet_id)


def session_with(journal: Notebook, *, kept: bool) -> Session:
    """Return a session that a process begins, connected to a broker that has kept its half or not."""
    session = Session(Settings("journalled"), journal=journal)
    accept(session, ConnAckPacket(session_present=kept))
    return session


def test_messages_of_a_process_that_crashed_are_sent_by_the_next_in_their_order() -> None:
    journal = Notebook()
    session = session_with(journal, kept=False)
    first, second = (session.publish("t", payload, QoS.EXACTLY_ONCE, retain=False) for payload in (b"1", b"2"))
    third = session.publish("t", b"3", QoS.AT_LEAST_ONCE, retain=False)
    done = session.publish("t", b"4", QoS.AT_LEAST_ONCE, retain=False)
    session.receive_data(written(PubAckPacket(done), PubRecPacket(second)), 0.0)

    session = session_with(journal, kept=True)
    assert sent(session) == [
        PubRelPacket(second),
        PublishPacket("t", b"1", qos=QoS.EXACTLY_ONCE, packet_id=first, duplicate=True),
        PublishPacket("t", b"3", qos=QoS.AT_LEAST_ONCE, packet_id=third, duplicate=True),
    ]
    fresh = session.publish("t", b"5", QoS.AT_LEAST_ONCE, retain=False)
    assert fresh not in (first, second, third)
    session.receive_data(
        written(PubRecPacket(first), PubCompPacket(first), PubCompPacket(second), PubAckPacket(third)), 0.0
    )
    assert list(journal.outgoing) == [fresh]


def test_a_message_that_was_acknowledged_before_a_crash_is_not_handed_out_again() -> None:
    journal = Notebook()
    session = session_with(journal, kept=False)
    message = PublishPacket("t", b"x", qos=QoS.EXACTLY_ONCE, packet_id=7)
    session.receive_data(message.write(), 0.0)
    assert not journal.ids, "its caller is not done"
    session.acknowledge(1, 0, 1)
    assert journal.ids == {7}, "safe before PUBREC may leave"

    session = session_with(journal, kept=True)
    assert session.receive_data(message.write(), 0.0) == []
    assert sent(session) == [PubRecPacket(7)]
    session.receive_data(PubRelPacket(7).write(), 0.0)
    assert sent(session) == [PubCompPacket(7)]
    assert not journal.ids


def test_a_broker_that_lost_the_session_empties_the_journal_but_for_what_is_sent_anew() -> None:
    journal = Notebook()
    session = session_with(journal, kept=False)
    session.publish("t", b"1", QoS.EXACTLY_ONCE, retain=False)
    plain = session.publish("t", b"2", QoS.AT_LEAST_ONCE, retain=False)
    journal.kept(9)
    session_with(journal, kept=False)
    assert (list(journal.outgoing), journal.ids) == ([plain], set())


async def test_what_the_journal_cannot_hold_is_not_sent_and_its_error_reaches_the_caller(
    autojump_clock: MockClock,
) -> None:
    journal, broker = Notebook(), ScriptedBroker()
    async with Client(transport=broker, journal=journal) as client:
        journal.full = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space left"):
            await client.publish("t", b"x", qos=2)
        journal.full = None
        peer = await broker.peer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.publish("t", b"y", qos=2))
            packet = await peer.expect(PublishPacket)
            assert packet.payload == b"y"
            await peer.send(PubRecPacket(packet.packet_id or 0))
            await peer.send(PubCompPacket((await peer.expect(PubRelPacket)).packet_id))
    assert not journal.outgoing


async def test_a_client_that_is_entered_again_goes_on_where_its_journal_stands(autojump_clock: MockClock) -> None:
    journal, broker = Notebook(), ScriptedBroker()
    client = Client(transport=broker, journal=journal, session_expiry_interval=60)
    async with client, trio.open_nursery() as nursery:
        peer = await broker.peer()
        nursery.start_soon(lambda: client.publish("t", b"x", qos=2))
        first = await peer.expect(PublishPacket)
        nursery.cancel_scope.cancel()
    broker.connack = ConnAckPacket(session_present=True)
    async with client:
        again = await (await broker.peer()).expect(PublishPacket)
        assert (again.packet_id, again.payload, again.duplicate) == (first.packet_id, b"x", True)
