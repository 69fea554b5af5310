"""A reading becomes a mail: over the whole appliance, by the mail server of its configuration."""

import json
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import trio
from mqtt5 import QoS

from tests.support.appliance_process import ApplianceProcess
from tests.support.mail_sink import MailSink
from tests.support.publisher import TENANT, client
from tests.system.test_alert_rules import program, token_of

PATIENCE = 40.0
RULE = {"name": "Too warm", "severity": "high", "kind": "threshold", "metric": "temp", "operator": "GT", "value": 8}


async def _mails(sink: MailSink, wanted: int) -> list[EmailMessage]:
    """Return the mails once there are so many."""
    with trio.fail_after(PATIENCE):
        while len(sink.mails) < wanted:
            await trio.sleep(0.02)
    return [message_from_bytes(mail.content, _class=EmailMessage, policy=default) for mail in sink.mails]


async def _all_completed(appliance: ApplianceProcess) -> None:
    """Return once both jobs are written down as delivered, which follows the answer."""
    query = "SELECT status, receipt FROM delivery_jobs"
    with trio.fail_after(PATIENCE):
        while await trio.to_thread.run_sync(appliance.query, query) != [("COMPLETED", "confirmed")] * 2:
            await trio.sleep(0.05)


async def test_a_reading_over_a_limit_is_mailed_and_so_is_its_end(appliance: ApplianceProcess) -> None:
    with MailSink() as sink:
        settings = {"HOST": "127.0.0.1", "PORT": str(sink.port), "TLS": "none", "SENDER": "appliance@edge.example"}
        appliance.start(**{f"APPLIANCE_MAIL_{name}": value for name, value in settings.items()})
        await trio.to_thread.run_sync(appliance.tenant)
        token = await trio.to_thread.run_sync(token_of, appliance)
        async with program(appliance, token) as http, client(appliance, "device") as connection:
            await http.post("/customer/alert-rules", json=RULE)
            made = await http.post(
                "/customer/integrations",
                json={"name": "Mail", "type": "email", "config": {"recipients": ["ingrid@fleet.example"]}},
            )
            assert made.status_code == 201, made.text
            integration_id = made.json()["integration_id"]
            sample = await http.post(f"/customer/integrations/{integration_id}/test")
            assert sample.status_code == 200, sample.text
            route = {"name": "All", "integration_id": integration_id, "severities": ["high"], "burst": 0}
            assert (await http.post("/customer/integration-routes", json=route)).status_code == 201

            for count, value in enumerate((9.0, 5.0), start=2):
                payload = json.dumps({"ts": time.time(), "temp": value}).encode()
                topic = f"tenant/{TENANT}/device/d-1/telemetry"
                await connection.publish(topic, payload, qos=QoS.AT_LEAST_ONCE)
                await _mails(sink, count)
        tested, opened, closed = await _mails(sink, 3)
    assert [mail["Subject"].partition(" ")[0] for mail in (tested, opened, closed)] == ["Test:", "High:", "Closed:"]
    assert closed["In-Reply-To"] == opened["Message-ID"]
    assert {mail["From"] for mail in (tested, opened, closed)} == {"Edge Appliance <appliance@edge.example>"}
    await _all_completed(appliance)
