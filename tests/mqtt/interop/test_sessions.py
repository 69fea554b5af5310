"""Sessions at ejabberd: kept, lost, taken over; what it grants, and in which words it refuses."""

import pytest
import trio
from mqtt5 import ConnAckReasonCode

from appliance.mqtt.errors import ConnectError
from appliance.mqtt.link import LinkState
from tests.mqtt.interop.conftest import ACCOUNT
from tests.support.ejabberd_clients import DEADLINE, at, durable, payloads, received
from tests.support.ejabberd_server import EjabberdServer

GRANTED_SECONDS = 300
"""For how long ejabberd keeps a session at most, unless it is told otherwise."""


async def test_a_session_is_kept_and_brings_what_was_not_acknowledged_again(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as device:
        async with durable(ejabberd, prefix) as ours:
            assert not ours.session_present
            await ours.subscribe(f"{prefix}/#")
            await device.publish_many((f"{prefix}/{number}", b"%d" % number) for number in range(3))
            await anext(ours.messages())  # taken, and never acknowledged
        await device.publish(f"{prefix}/3", b"3")  # while we are away
        async with durable(ejabberd, prefix) as ours:
            assert ours.session_present
            first = await anext(ours.messages())
            assert (first.payload, first.packet.duplicate) == (b"0", True)
            await ours.puback(first)
            assert await payloads(ours, 3) == [b"1", b"2", b"3"]
        async with durable(ejabberd, prefix) as ours:
            await device.publish(f"{prefix}/4", b"4")
            assert await payloads(ours, 1) == [b"4"]  # and nothing else again


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_came_while_we_were_away_comes_though_the_first_of_it_is_marked_as_sent_before(
    ejabberd: EjabberdServer, prefix: str, qos: int
) -> None:
    async with at(ejabberd) as device:
        async with durable(ejabberd, prefix) as ours:
            await ours.subscribe(f"{prefix}/#", max_qos=qos)
        await device.publish_many([(f"{prefix}/x", b"%d" % number) for number in range(3)], qos=qos)
        async with durable(ejabberd, prefix) as ours:
            packets = await received(ours, 3)
    assert [packet.payload for packet in packets] == [b"0", b"1", b"2"]
    assert [packet.duplicate for packet in packets] == [True, False, False]


async def test_a_clean_start_ends_the_session(ejabberd: EjabberdServer, prefix: str) -> None:
    async with at(ejabberd) as device:
        async with durable(ejabberd, prefix) as ours:
            await ours.subscribe(f"{prefix}/#")
        await device.publish(f"{prefix}/1", b"of the old session")
        async with durable(ejabberd, prefix, clean_start=True) as ours:
            assert not ours.session_present
            await ours.subscribe(f"{prefix}/#")
            await device.publish(f"{prefix}/1", b"new")
            assert await payloads(ours, 1) == [b"new"]


async def test_a_session_without_expiry_is_gone_with_its_connection(ejabberd: EjabberdServer, prefix: str) -> None:
    for _ in range(2):
        async with durable(ejabberd, prefix, session_expiry_interval=0) as ours:
            assert not ours.session_present


async def test_a_session_survives_a_connection_that_breaks_with_its_messages(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as device, durable(ejabberd, prefix) as ours:
        await ours.subscribe(f"{prefix}/#")
        for number in range(5):
            ours.drop_connection()
            await device.publish(f"{prefix}/x", b"%d" % number)
            assert await payloads(ours, 1) == [b"%d" % number]
        assert ours.generation > 1
        assert ours.session_present


async def test_it_keeps_sessions_for_a_shorter_time_than_asked_and_says_so(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with durable(ejabberd, prefix) as ours:
        connack = await ours.connected()
        assert connack.session_expiry_interval == GRANTED_SECONDS
        assert connack.server_keep_alive == 60  # it repeats ours
        assert not connack.shared_subscription_available
        with pytest.raises(ValueError, match="the broker has no shared subscriptions"):
            await ours.subscribe(f"$share/group/{prefix}")  # which it would answer by closing the connection
        assert ours.is_connected


async def test_it_gives_an_identifier_to_a_client_without_one(ejabberd: EjabberdServer) -> None:
    async with at(ejabberd, identifier="") as one, at(ejabberd, identifier="") as other:
        assert one.identifier
        assert one.identifier != other.identifier


async def test_a_session_that_another_client_takes_is_named_and_not_fought_for(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as device, durable(ejabberd, prefix) as ours:
        await ours.subscribe(f"{prefix}/#")
        async with durable(ejabberd, prefix, reconnect=False) as rival:
            assert rival.session_present
            with trio.fail_after(DEADLINE):
                link = await ours.disconnected()
            assert link.state is LinkState.TAKEN_OVER
            assert link.detail == "another client uses our client id: session taken over"
            await device.publish(f"{prefix}/x", b"the rival's")
            assert await payloads(rival, 1) == [b"the rival's"]
            assert rival.is_connected


async def test_a_wrong_password_is_refused_in_words(ejabberd: EjabberdServer) -> None:
    [(name, password)] = ACCOUNT.items()
    async with at(ejabberd, username=name, password=password) as client:
        assert client.is_connected
    with pytest.raises(ConnectError, match="the broker refused us: not authorized") as caught:
        async with at(ejabberd, username=name, password="another one"):
            pass
    assert caught.value.reason_code == ConnAckReasonCode.NOT_AUTHORIZED
