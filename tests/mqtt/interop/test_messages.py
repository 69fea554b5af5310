"""Messages through ejabberd: every QoS both ways, retained ones, properties, limits and refusals."""

import pytest
import trio
from mqtt5 import DisconnectReasonCode, PubAckReasonCode, PubRecReasonCode, RetainHandling, SubAckReasonCode

from appliance.mqtt.errors import NegativeAckError
from appliance.mqtt.inbox import InboundBatch
from appliance.mqtt.terms import MessageProperties
from tests.mqtt.interop.conftest import MAX_PAYLOAD, MAX_QUEUE
from tests.support.ejabberd_clients import DEADLINE, at, durable, payloads, received
from tests.support.ejabberd_server import EjabberdServer


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_go_both_ways(ejabberd: EjabberdServer, prefix: str, qos: int) -> None:
    async with at(ejabberd) as one, at(ejabberd) as other:
        assert int(await one.subscribe(f"{prefix}/#", max_qos=qos)) == qos
        for sender in (one, other):
            await sender.publish(f"{prefix}/a", b"payload", qos=qos)
            [packet] = await received(one, 1)
            assert (packet.topic, packet.payload, int(packet.qos)) == (f"{prefix}/a", b"payload", qos)


async def test_messages_come_once_and_in_order_with_one_at_a_time_in_flight(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    """It waits for each acknowledgement, whatever receive maximum it was told."""
    total = 200
    async with at(ejabberd) as device, durable(ejabberd, prefix, receive_max=20) as ours:
        await ours.subscribe(f"{prefix}/#")
        await device.publish_many([(f"{prefix}/{number % 7}", b"%d" % number) for number in range(total)])
        first: InboundBatch = await anext(ours.batches())
        await ours.publish(f"{prefix}/x/y", b"", qos=0)
        await ours.publish("open/elsewhere", b"")  # a round trip: whatever it wanted to send is here
        assert (len(first.packets), ours.statistics().waiting) == (1, 0)
        await ours.acknowledge(first)
        rest = await payloads(ours, total)
        assert rest == [b"%d" % number for number in range(1, total)] + [b""]
        assert ours.generation == 1


async def test_a_burst_beyond_its_queue_ends_the_session_and_the_client_begins_a_new_one(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as device, durable(ejabberd, prefix) as ours:
        await ours.subscribe(f"{prefix}/#")
        links = ours.link_changes()
        await anext(links)
        await device.publish_many([(f"{prefix}/x", b"lost")] * (MAX_QUEUE + 2))
        with trio.fail_after(DEADLINE):
            details = [(await anext(links)).detail for _ in range(2)]
            assert "the broker disconnected us: quota exceeded (Message queue is overloaded)" in details
            await ours.ready()
        assert not ours.session_present
        await device.publish(f"{prefix}/x", b"after")
        assert (await payloads(ours, 2))[1] == b"after"  # the first is the one that was here already


async def test_retained_messages_come_as_the_retain_handling_says(ejabberd: EjabberdServer, prefix: str) -> None:
    async with at(ejabberd) as client:
        await client.publish(f"{prefix}/kept", b"old", retain=True)
        await client.subscribe(f"{prefix}/+", retain_handling=RetainHandling.SEND_NEVER)
        await client.publish(f"{prefix}/new", b"new")
        assert await payloads(client, 1) == [b"new"]
        await client.unsubscribe(f"{prefix}/+")
        await client.subscribe(f"{prefix}/+")
        [packet] = await received(client, 1)
        assert (packet.payload, packet.retain) == (b"old", True)
        await client.subscribe(f"{prefix}/+", retain_handling=RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS)
        await client.publish(f"{prefix}/kept", b"", retain=True)  # clears it, and is seen as such
        assert [(packet.payload, packet.retain) for packet in await received(client, 1)] == [(b"", True)]
        await client.unsubscribe(f"{prefix}/+")
        await client.subscribe(f"{prefix}/+")
        await client.publish(f"{prefix}/new", b"newer")
        assert await payloads(client, 1) == [b"newer"]


async def test_no_local_keeps_our_own_messages_away(ejabberd: EjabberdServer, prefix: str) -> None:
    async with at(ejabberd) as ours, at(ejabberd) as device:
        await ours.subscribe(f"{prefix}/#", no_local=True)
        await ours.publish(f"{prefix}/x", b"ours")
        await device.publish(f"{prefix}/x", b"theirs")
        assert await payloads(ours, 1) == [b"theirs"]


async def test_an_ended_subscription_brings_nothing_and_one_that_never_was_ends_well(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as client:
        await client.subscribe(f"{prefix}/a")
        await client.subscribe(f"{prefix}/b")
        await client.unsubscribe(f"{prefix}/a")
        await client.unsubscribe(f"{prefix}/never")
        await client.publish(f"{prefix}/a", b"unheard")
        await client.publish(f"{prefix}/b", b"heard")
        assert await payloads(client, 1) == [b"heard"]


async def test_properties_come_through(ejabberd: EjabberdServer, prefix: str) -> None:
    properties = MessageProperties(
        expiry_interval=3600,
        content_type="application/json",
        response_topic=f"{prefix}/answers",
        correlation_data=b"\x00\xff",
        user_properties=(("k", "v"), ("k", "w")),
    )
    async with at(ejabberd) as client:
        await client.subscribe(f"{prefix}/#")
        await client.publish(f"{prefix}/x", b"1", properties=properties)
        [packet] = await received(client, 1)
        assert packet.content_type == "application/json"
        assert (packet.response_topic, packet.correlation_data) == (f"{prefix}/answers", b"\x00\xff")
        assert list(packet.user_properties) == [("k", "v"), ("k", "w")]
        assert 3590 <= (packet.message_expiry_interval or 0) <= 3600


async def test_a_request_is_answered_where_it_says(ejabberd: EjabberdServer, prefix: str) -> None:
    async with at(ejabberd) as asks, at(ejabberd) as answers:
        await answers.subscribe(f"{prefix}/questions")
        await asks.subscribe(f"{prefix}/answers")
        question = MessageProperties(response_topic=f"{prefix}/answers", correlation_data=b"7")
        await asks.publish(f"{prefix}/questions", b"6 * 7", properties=question)
        [asked] = await received(answers, 1)
        assert asked.response_topic is not None
        await answers.publish(
            asked.response_topic, b"42", properties=MessageProperties(correlation_data=asked.correlation_data)
        )
        [answer] = await received(asks, 1)
        assert (answer.payload, answer.correlation_data) == (b"42", b"7")


async def test_a_topic_that_nobody_reads_is_published_to_without_an_error(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as client:
        await client.publish(f"{prefix}/unread", b"1")  # answered with "no matching subscribers"
        assert client.statistics().published == 1


async def test_what_its_rules_forbid_is_refused_in_words_and_the_connection_stays(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as client:
        for topic, qos in (("closed/x", 1), ("$SYS/x", 1), ("closed/x", 2)):
            with pytest.raises(NegativeAckError, match="topic name invalid") as publish:
                await client.publish(topic, b"1", qos=qos)
            code = PubAckReasonCode.TOPIC_NAME_INVALID if qos == 1 else PubRecReasonCode.TOPIC_NAME_INVALID
            assert publish.value.reason_code == code
        for pattern in ("closed/#", "open/2/3/4/5/6/7/8/9"):  # eight slashes are too many for it
            with pytest.raises(NegativeAckError, match="topic filter invalid") as subscription:
                await client.subscribe(pattern)
            assert subscription.value.reason_code == SubAckReasonCode.TOPIC_FILTER_INVALID
        await client.subscribe(f"{prefix}/x")
        assert client.generation == 1


async def test_a_message_that_is_too_large_for_it_ends_the_connection_in_words(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    """It does not say beforehand what it takes."""
    async with at(ejabberd, reconnect=False) as client:
        assert (await client.connected()).max_packet_size is None
        await client.publish(f"{prefix}/x", bytes(MAX_PAYLOAD - 100), qos=0)
        await client.publish(f"{prefix}/x", bytes(MAX_PAYLOAD + 100), qos=0)
        with trio.fail_after(DEADLINE):
            link = await client.disconnected()
        code = DisconnectReasonCode.PACKET_TOO_LARGE.name.lower().replace("_", " ")
        assert f"the broker disconnected us: {code}" in link.detail


async def test_it_sends_more_than_we_take_and_the_client_says_so(ejabberd: EjabberdServer, prefix: str) -> None:
    """It does not look at our maximum packet size: with a session the message comes again and again."""
    async with at(ejabberd) as device, durable(ejabberd, prefix, max_packet_size=1000) as ours:
        await ours.subscribe(f"{prefix}/#")
        await device.publish(f"{prefix}/x", bytes(500))
        await device.publish(f"{prefix}/x", bytes(5000))
        assert [len(packet.payload) for packet in await received(ours, 1)] == [500]
        with trio.fail_after(DEADLINE):
            link = await ours.disconnected()
        assert "packet too large (a packet of 5" in link.detail
        assert "at most 1000 are accepted)" in link.detail
