"""The client with aiomqtt's interface at ejabberd: each step of an exchange, and the answers as they are."""

import pytest
import trio

from appliance.mqtt.aiomqtt import (
    Client,
    NegativeAckError,
    PublishPacket,
    PubRelPacket,
    QoS,
    SubAckReasonCode,
    TopicFilter,
    UnsubAckReasonCode,
)
from tests.support.ejabberd_clients import DEADLINE
from tests.support.ejabberd_server import ANYBODY, EjabberdServer


def at(server: EjabberdServer, identifier: str | None = None, session_expiry_interval: int = 0) -> Client:
    return Client(
        hostname=server.host,
        port=server.port,
        identifier=identifier,
        username=ANYBODY["username"],
        password=ANYBODY["password"].encode(),
        session_expiry_interval=session_expiry_interval,
    )


async def test_several_filters_are_answered_one_by_one_and_messages_name_their_subscription(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as client:
        answer = await client.subscribe(
            TopicFilter(f"{prefix}/a", max_qos=QoS.AT_MOST_ONCE),
            TopicFilter(f"{prefix}/b", max_qos=QoS.EXACTLY_ONCE),
            subscription_id=268_435_455,
        )
        assert [code.value for code in answer.reason_codes] == [0, 2]
        await client.publish(f"{prefix}/a", b"1")
        packet = await anext(client.messages())
        assert isinstance(packet, PublishPacket)
        assert list(packet.subscription_ids) == [268_435_455]
        ended = await client.unsubscribe(f"{prefix}/a", f"{prefix}/never")
        assert ended.reason_codes == [UnsubAckReasonCode.SUCCESS] * 2  # it says so of what never was, too


async def test_a_refused_filter_is_told_with_the_words_of_the_broker_and_the_others_hold(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as client:
        with pytest.raises(NegativeAckError) as refused:
            await client.subscribe(TopicFilter("closed/#"), TopicFilter(f"{prefix}/#"))
        assert SubAckReasonCode.TOPIC_FILTER_INVALID.name in str(refused.value)
        assert refused.value.reason_str == "Subscribing to this topic is forbidden by service policy"
        await client.publish(f"{prefix}/x", b"heard")
        packet = await anext(client.messages())
        assert isinstance(packet, PublishPacket)
        assert packet.payload == b"heard"


async def test_a_refused_message_is_told_with_the_words_of_the_broker(ejabberd: EjabberdServer) -> None:
    async with at(ejabberd) as client:
        with pytest.raises(NegativeAckError) as refused:
            await client.publish("closed/x", b"1", qos=QoS.AT_LEAST_ONCE, packet_id=next(client.packet_ids))
        assert refused.value.reason_str == "Publishing to this topic is forbidden by service policy"


async def test_a_message_of_qos_2_is_taken_step_by_step_over_two_connections(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    with trio.fail_after(DEADLINE):
        async with at(ejabberd) as device:
            async with at(ejabberd, prefix, 3600) as ours:
                await ours.subscribe(TopicFilter(f"{prefix}/#"))
                packet_id = next(device.packet_ids)
                answer = await device.publish(f"{prefix}/x", b"once", qos=QoS.EXACTLY_ONCE, packet_id=packet_id)
                assert answer is not None
                await device.pubrel(packet_id)
                packet = await anext(ours.messages())
                assert isinstance(packet, PublishPacket)
                assert packet.packet_id is not None
                await ours.pubrec(packet.packet_id)
                released = await anext(ours.messages())
                assert isinstance(released, PubRelPacket)
            async with at(ejabberd, prefix, 3600) as ours:
                again = await anext(ours.messages())  # it was not completed
                assert isinstance(again, PubRelPacket)
                assert again.packet_id == packet.packet_id
                await ours.pubcomp(again.packet_id)
                await device.publish(f"{prefix}/x", b"next")
                following = await anext(ours.messages())
                assert isinstance(following, PublishPacket)
                assert following.payload == b"next"
