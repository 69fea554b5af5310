"""Wills at ejabberd: sent when a client leaves with an error, later, or not at all."""

from contextlib import suppress

import pytest
import trio
from mqtt5 import QoS, Will

from appliance.mqtt.client import Client
from tests.support.ejabberd_clients import at, durable, payloads, received
from tests.support.ejabberd_server import EjabberdServer

DELAY_SECONDS = 1
ATTEMPTS = 20
"""To be back before the delay is over."""


class OwnFault(Exception):
    """What ends a client's body."""


async def fails(client: Client) -> tuple[bool, float]:
    """Enter a client and leave it with an error; return whether its session was there, and when it was entered."""
    found = False, 0.0
    with suppress(OwnFault):
        async with client:
            found = client.session_present, trio.current_time()
            raise OwnFault
    return found


async def test_the_will_of_a_client_that_leaves_with_an_error_is_sent_and_of_one_that_leaves_well_is_not(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    will = Will(f"{prefix}/will", payload=b"gone", qos=QoS.AT_LEAST_ONCE, content_type="text/plain")
    async with at(ejabberd) as witness:
        await witness.subscribe(f"{prefix}/#")
        async with at(ejabberd, will=will):
            pass
        await witness.publish(f"{prefix}/after", b"it left well")
        with pytest.raises(OwnFault):
            async with at(ejabberd, will=will):
                raise OwnFault
        assert await payloads(witness, 1) == [b"it left well"]
        [packet] = await received(witness, 1)
        assert (packet.topic, packet.payload, packet.content_type) == (f"{prefix}/will", b"gone", "text/plain")


async def test_a_will_with_a_delay_comes_after_it_unless_the_client_is_back(
    ejabberd: EjabberdServer, prefix: str
) -> None:
    async with at(ejabberd) as witness:
        for attempt in range(ATTEMPTS):
            topic = f"{prefix}/{attempt}"
            will = Will(f"{topic}/will", payload=b"gone", qos=QoS.AT_LEAST_ONCE, will_delay_interval=DELAY_SECONDS)
            await witness.subscribe(f"{topic}/#")
            _, entered = await fails(durable(ejabberd, topic, will=will))
            present, back = await fails(durable(ejabberd, topic, will=will))
            assert present
            if back - entered < DELAY_SECONDS:
                break
            await witness.unsubscribe(f"{topic}/#")  # too late: the machine is busy
        assert await payloads(witness, 1) == [b"gone"]
        assert trio.current_time() - back >= DELAY_SECONDS
        await witness.publish(f"{topic}/after", b"and no second one")
        assert await payloads(witness, 1) == [b"and no second one"]
