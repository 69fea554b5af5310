"""Claims about acknowledgements: arrival order inbound, the broker's window and original order outbound."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt5 import PubAckPacket, PublishPacket, QoS

from appliance.mqtt.exchanges import Outgoing
from appliance.mqtt.inflight import LAST_PACKET_ID, RESERVED_IDS, Arrivals, PacketIds, pubacks


def message(packet_id: int, payload: bytes = b"x") -> bytes:
    return PublishPacket("t", payload, qos=QoS.AT_LEAST_ONCE, packet_id=packet_id).write()


@given(st.lists(st.integers(1, 65535), max_size=200))
def test_pubacks_are_what_the_codec_would_write(ids: list[int]) -> None:
    assert pubacks(ids) == b"".join(PubAckPacket(packet_id).write() for packet_id in ids)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.randoms())
def test_whatever_the_order_of_settling_acknowledgements_leave_in_arrival_order(
    sizes: list[int], chance: random.Random
) -> None:
    arrivals = Arrivals()
    batches = []
    ids: list[int] = []
    for size in sizes:
        new = [len(ids) + index + 1 for index in range(size)]
        batches.append((arrivals.add(new), size))
        ids += new
    chance.shuffle(batches)
    sent = b"".join(arrivals.settle(first, count) for first, count in batches)
    assert sent == pubacks(ids)
    assert len(arrivals) == 0


def test_a_message_that_is_not_done_holds_back_all_later_ones() -> None:
    arrivals = Arrivals()
    arrivals.add([7, 8, 9])
    assert arrivals.settle(1, 2) == b""
    assert arrivals.settle(0, 1) == pubacks([7, 8, 9])


def test_settling_twice_or_overlapping_acknowledges_once() -> None:
    arrivals = Arrivals()
    arrivals.add([1, 2, 3, 4, 5])
    assert arrivals.settle(1, 3) == b""
    assert arrivals.settle(0, 3) == pubacks([1, 2, 3, 4])
    assert arrivals.settle(0, 4) == b""
    assert arrivals.settle(2, 3) == pubacks([5])


def test_more_than_has_arrived_cannot_be_settled() -> None:
    arrivals = Arrivals()
    arrivals.add([1])
    assert arrivals.settle(0, 5) == pubacks([1])
    assert arrivals.add([2]) == 1
    assert len(arrivals) == 1
    assert arrivals.settle(1, 1) == pubacks([2])


def connected(window: int) -> Outgoing:
    outgoing = Outgoing()
    outgoing.resume(window, kept=False, sendable=lambda _: True)
    return outgoing


def fill(outgoing: Outgoing, count: int) -> list[int]:
    ids = list(range(1, count + 1))
    for packet_id in ids:
        outgoing.add(packet_id, message(packet_id))
    return ids


def test_there_is_no_room_without_a_connection_nor_beyond_the_brokers_window() -> None:
    assert Outgoing().room == 0
    outgoing = connected(3)
    ids = fill(outgoing, 3)
    assert outgoing.room == 0
    assert outgoing.acknowledge(ids[1])
    assert outgoing.room == 1


def test_an_acknowledgement_of_nothing_changes_nothing() -> None:
    outgoing = connected(3)
    fill(outgoing, 1)
    assert not outgoing.acknowledge(999)
    assert len(outgoing) == 1


def test_messages_leave_packet_ids_for_requests() -> None:
    assert connected(65535).room == LAST_PACKET_ID - RESERVED_IDS


def test_packet_ids_wrap_around_and_skip_what_is_in_use() -> None:
    ids = PacketIds()
    assert [ids.take() for _ in range(LAST_PACKET_ID)] == list(range(1, LAST_PACKET_ID + 1))
    for packet_id in (70, 3):
        ids.give_back(packet_id)
    assert [ids.take(), ids.take()] == [3, 70]


def test_without_a_free_packet_id_there_is_an_error_at_once() -> None:
    ids = PacketIds()
    for _ in range(LAST_PACKET_ID):
        ids.take()
    with pytest.raises(RuntimeError, match="all packet ids"):
        ids.take()


def test_after_a_resumption_the_unacknowledged_come_first_in_order_marked_as_duplicates() -> None:
    outgoing = connected(10)
    ids = fill(outgoing, 5)
    outgoing.acknowledge(ids[2])
    outgoing.suspend()
    assert outgoing.room == 0
    outgoing.resume(10, kept=True, sendable=lambda _: True)
    assert outgoing.room == 0  # before they have gone out nothing new may
    assert sent_ids(outgoing.due()) == [(1, True), (2, True), (4, True), (5, True)]
    assert outgoing.room == 6


def test_a_forgotten_session_gets_them_as_new_messages() -> None:
    outgoing = connected(10)
    fill(outgoing, 2)
    for duplicate in (True, False):
        outgoing.suspend()
        outgoing.resume(10, kept=duplicate, sendable=lambda _: True)
        assert sent_ids(outgoing.due()) == [(1, duplicate), (2, duplicate)]


def test_a_smaller_window_is_kept_while_resending_also_over_another_loss() -> None:
    outgoing = connected(10)
    fill(outgoing, 6)
    outgoing.suspend()
    outgoing.resume(2, kept=True, sendable=lambda _: True)
    assert sent_ids(outgoing.due()) == [(1, True), (2, True)]
    outgoing.acknowledge(1)
    assert sent_ids(outgoing.due()) == [(3, True)]
    outgoing.suspend()
    outgoing.resume(10, kept=True, sendable=lambda _: True)
    assert sent_ids(outgoing.due()) == [(number, True) for number in (2, 3, 4, 5, 6)]


def test_what_the_broker_does_not_take_any_more_is_given_up_and_named() -> None:
    outgoing = connected(10)
    outgoing.add(1, message(1, b"x" * 100))
    outgoing.add(2, message(2))
    outgoing.suspend()
    assert outgoing.resume(10, kept=True, sendable=lambda encoded: len(encoded) < 50).ended == (1,)
    assert sent_ids(outgoing.due()) == [(2, True)]


def sent_ids(packets: Iterator[bytes]) -> list[tuple[int, bool]]:
    """Packet id and DUP flag of encoded messages with the one-letter topic."""
    return [(int.from_bytes(packet[5:7], "big"), bool(packet[0] & 8)) for packet in packets]
