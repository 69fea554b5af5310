"""A link to the broker that swallows every byte, as behind a dead router, and messages delivered twice (R17, R18).

The real intake, pipeline, database and broker, a proxy in between, and a keep-alive of one second.
"""

import time

import trio

from appliance.backoff import Backoff
from appliance.broker.source import BrokerSource
from appliance.failpoints import Failpoints
from appliance.mqtt.client import Client
from tests.support.busy import within
from tests.support.mosquitto_server import MosquittoServer
from tests.support.pipeline import TENANT, furnish, ledger_sums, look, open_ingest
from tests.support.postgres_server import Database
from tests.support.tcp_proxy import tcp_proxy

KEEP_ALIVE = 1
SLACK_SECONDS = 1.0
"""For a machine that is busy."""
MESSAGES, GROUP = 1500, 50


async def test_a_silent_link_is_replaced_and_what_comes_twice_is_stored_once(database: Database) -> None:
    await furnish(database)
    base = (int(time.time()) - 3600) * 1000
    redelivered: list[int] = []
    with MosquittoServer(persistence=True) as server:
        async with (
            tcp_proxy(server.host, server.port) as proxy,
            open_ingest(database) as stack,
            Client(
                server.host, proxy.port, identifier="appliance", session_expiry_interval=3600, keep_alive=KEEP_ALIVE,
                receive_max=512, backoff=Backoff(first=0.05, maximum=0.25),
            ) as ours,
            Client(server.host, server.port) as device,
            trio.open_nursery() as nursery,
        ):  # fmt: skip
            await ours.subscribe("tenant/+/device/+/+")
            source = BrokerSource(ours, stack.pipeline, 200, Failpoints(), redelivered.append, None, None)
            await nursery.start(source.run)
            silent_for = 0.0
            for first in range(0, MESSAGES, GROUP):
                # Each twice: a device that heard no PUBACK in time sends again, with another packet id and no DUP.
                await device.publish_many(
                    (f"tenant/{TENANT}/device/d{n % 7}/telemetry", b'{"ts":%d,"seq":%d,"a":1}' % (base + n, n))
                    for n in [*range(first, first + GROUP)] * 2
                )
                if first == MESSAGES // 3:
                    proxy.go_silent()
                    began = trio.current_time()
                    with trio.fail_after(within(1.5 * KEEP_ALIVE + SLACK_SECONDS)):
                        await ours.disconnected()
                    silent_for = trio.current_time() - began
            with trio.fail_after(60):
                while ledger_sums(database)["duplicate"] < MESSAGES or ledger_sums(database)["stored"] < MESSAGES:
                    await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    assert silent_for > 0.5, "it was not the silence that ended it"
    assert proxy.connections == 2
    assert sum(redelivered) > 0, "nothing was redelivered: the test proved little"
    assert look(database, "SELECT array_agg(seq ORDER BY seq) FROM telemetry") == [([*range(MESSAGES)],)]
    found = ledger_sums(database)
    assert found["stored"] == MESSAGES
    assert found["duplicate"] >= MESSAGES
