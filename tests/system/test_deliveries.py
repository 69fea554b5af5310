"""From a reading to a receiver, over the whole appliance: what is set up over the API tells an alert and its end."""

import json
from collections.abc import Callable
from typing import Any

import trio
from mqtt5 import QoS
from standardwebhooks import Webhook

from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess
from tests.support.http_sink import answers, http_sink
from tests.support.publisher import TENANT, client
from tests.system.test_alert_rules import program, token_of

PATIENCE = 40.0
OVEN = {
    "name": "Too warm", "severity": "high", "kind": "threshold", "metric": "temperature", "operator": "GT", "value": 8,
}  # fmt: skip
JOBS = (
    "SELECT j.event, j.status, r.name FROM delivery_jobs AS j JOIN integration_routes AS r USING (tenant_id, route_id)"
)


async def test_an_alert_reaches_the_integration_of_its_route_and_no_other(appliance: ApplianceProcess) -> None:
    await trio.to_thread.run_sync(lambda: appliance.start(APPLIANCE_DELIVERY_ALLOW_NETWORKS="127.0.0.0/8"))
    await trio.to_thread.run_sync(appliance.tenant)
    token = await trio.to_thread.run_sync(token_of, appliance)
    async with (
        http_sink(answers(204)) as sink,
        program(appliance, token) as http,
        client(appliance, "devices") as connection,
    ):

        async def made(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = await http.post(f"/customer/{path}", json=body)
            assert answer.status_code == 201, answer.text
            found: dict[str, Any] = answer.json()
            return found

        await made("alert-rules", OVEN)
        hook = await made("integrations", {"name": "Ops", "type": "webhook", "config": {"url": sink.url()}})
        for name, severities in (("Bad", ["critical", "high"]), ("Harmless", ["low", "info"])):
            await made(
                "integration-routes",
                {"name": name, "integration_id": hook["integration_id"], "severities": severities},
            )
        await say(connection, 9, lambda: len(sink.requests) == 1)
        await say(connection, 5, lambda: len(sink.requests) == 2)
        webhook = Webhook(hook["signing_secret"])
        told = [webhook.verify(request.body, dict(request.headers)) for request in sink.requests]
        assert [one["type"] for one in told] == ["alert.opened", "alert.closed"]
        assert {one["data"]["device"]["device_id"] for one in told} == {"d-1"}
        assert len({one["data"]["alert"]["alert_id"] for one in told}) == 1
        expected = [("OPEN", "COMPLETED", "Bad"), ("CLOSED", "COMPLETED", "Bad")]
        with trio.fail_after(PATIENCE):  # the receiver has it before its answer is written down
            while await trio.to_thread.run_sync(appliance.query, f"{JOBS} ORDER BY j.job_id") != expected:
                await trio.sleep(0.05)


async def say(connection: Client, temperature: float, told: Callable[[], bool]) -> None:
    """Send readings of now until it is told: a rule is known to the stream within a second.

    An alert of an old reading would wait a minute for what may end it.
    """
    payload = json.dumps({"temperature": temperature}).encode()
    with trio.fail_after(PATIENCE):
        while not told():
            await connection.publish(f"tenant/{TENANT}/device/d-1/telemetry", payload, qos=QoS.AT_LEAST_ONCE)
            await trio.sleep(0.2)
