"""Connections to ejabberd that are cut at any byte: QoS 1 arrives at least once, QoS 2 exactly once."""

import random
from collections import Counter

import pytest
import trio

from tests.support.ejabberd_clients import DEADLINE, at, durable
from tests.support.ejabberd_server import EjabberdServer
from tests.support.soak import times
from tests.support.tcp_proxy import tcp_proxy

MESSAGES = 60
LONGEST_LIFE = 1500
"""Bytes that a connection passes at most: some ten messages."""


@pytest.mark.parametrize("qos", [1, 2])
async def test_messages_survive_cuts_both_ways(ejabberd: EjabberdServer, prefix: str, qos: int) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    total = times(MESSAGES)
    echoed: Counter[bytes] = Counter()
    async with tcp_proxy(ejabberd.host, ejabberd.port) as proxy, at(ejabberd) as echo:
        proxy.lifetime = lambda: chance.randrange(200, LONGEST_LIFE)
        async with durable(ejabberd, prefix, port=proxy.port, keep_trying=True) as ours, trio.open_nursery() as nursery:

            async def send_back() -> None:
                async for message in echo.messages():
                    await echo.puback(message)
                    await echo.publish(f"{prefix}/back", message.payload, qos=qos)

            async def publish() -> None:
                for number in range(total):
                    await ours.publish(f"{prefix}/out", b"%d" % number, qos=qos)
                proxy.lifetime = lambda: float("inf")

            await echo.subscribe(f"{prefix}/out", max_qos=qos)
            await ours.subscribe(f"{prefix}/back", max_qos=qos)
            nursery.start_soon(send_back)
            nursery.start_soon(publish)
            with trio.fail_after(DEADLINE):
                async for message in ours.messages():
                    echoed[message.payload] += 1
                    await ours.puback(message)
                    if len(echoed) == total:
                        break
            with trio.move_on_after(0.2):  # what would come twice
                async for message in ours.messages():
                    echoed[message.payload] += 1
                    await ours.puback(message)
            nursery.cancel_scope.cancel()
        assert proxy.connections > 1, f"seed {seed}"
        assert set(echoed) == {b"%d" % number for number in range(total)}, f"seed {seed}"
        if qos == 2:
            assert set(echoed.values()) == {1}, f"seed {seed}: {echoed}"
