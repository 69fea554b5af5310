"""The subscription at an external broker: made whenever the broker comes, and a refusal ends the appliance in words."""

import pytest
import trio
from mqtt5 import SubAckPacket, SubAckReasonCode, SubscribePacket

from appliance.broker.clients import SUBSCRIPTION
from appliance.errors import ApplianceError
from appliance.supervisor.broker import _keep_subscribed
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED, client_of

PATIENCE = 60.0


async def answered(code: SubAckReasonCode) -> None:
    """Let the broker answer our subscription, and leave once it is held."""
    broker = ScriptedBroker()
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            peer = await broker.peer()
            asked = await peer.expect(SubscribePacket)
            assert [one.pattern for one in asked.topic_filters] == [SUBSCRIPTION]
            await peer.send(SubAckPacket(asked.packet_id, [code]))
            await peer.packet()
            await peer.close()

        nursery.start_soon(answer)
        with trio.fail_after(PATIENCE):
            async with client_of(broker, keep_trying=True) as client:
                await nursery.start(_keep_subscribed, client)
                troubles = [client.link.trouble]
                await client.ready()
                troubles.append(client.link.trouble)
                assert [trouble is None for trouble in troubles] == [False, True]
        nursery.cancel_scope.cancel()


async def test_the_start_does_not_wait_for_the_broker_and_the_subscription_is_made_when_it_is_there() -> None:
    await answered(GRANTED)


async def test_a_broker_that_refuses_the_subscription_ends_the_appliance_with_what_to_mend() -> None:
    with pytest.RaisesGroup(ApplianceError) as refused:
        await answered(SubAckReasonCode.NOT_AUTHORIZED)
    text = str(refused.value.exceptions[0])
    assert text == (
        f"the broker refused the subscription to `{SUBSCRIPTION}`: not authorized: let the appliance's user"
        " (broker.username) subscribe to it"
    )
