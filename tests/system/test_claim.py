"""A new device announces itself with its tenant's claim password and gets a credential of its own, once."""

import json
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.support.appliance_process import ApplianceProcess


def post(appliance: ApplianceProcess, path: str, secret: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON of a POST to ``/ingest/tenant/fleet/device/...``."""
    request = urllib.request.Request(
        f"{appliance.run['web_url']}/ingest/tenant/fleet/device/{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def publish(appliance: ApplianceProcess, user: str, password: str, topic: str) -> int:
    done = subprocess.run(
        ["mosquitto_pub", "-V", "5", "-h", "127.0.0.1", "-p", str(appliance.mqtt_port), "-u", user, "-P", password,
         "-q", "1", "-t", topic, "-m", '{"temperature": 20}'],
        check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    return done.returncode


def test_a_claim_gives_a_credential_once_and_shuts_the_claim_user_out(appliance: ApplianceProcess) -> None:
    appliance.start()
    claim = appliance.tenant("fleet", seats=2)["password"]
    assert post(appliance, "d1/claim", "wrong")[0] == 401
    assert post(appliance, "d1/telemetry", claim, {"a": 1}) == (202, {"accepted": 1})

    with ThreadPoolExecutor(8) as pool:  # asked at once: one gets it
        answers = list(pool.map(lambda _: post(appliance, "d1/claim", claim), range(8)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 7
    issued = next(body for status, body in answers if status == 201)
    assert issued.keys() == {"tenant_id", "device_id", "username", "password", "token"}

    assert post(appliance, "d1/telemetry", issued["token"], {"a": 2}) == (202, {"accepted": 1})
    assert post(appliance, "d2/telemetry", issued["token"], {"a": 2})[0] == 401
    assert post(appliance, "d1/telemetry", claim, {"a": 3})[0] == 401, "it has a token of its own now"
    topic = "tenant/fleet/device/d1/telemetry"
    assert publish(appliance, issued["username"], issued["password"], topic) == 0, appliance.tail()

    assert post(appliance, "d2/claim", claim)[0] == 201
    status, body = post(appliance, "d3/claim", claim)
    assert (status, body["reason"]) == (202, "NO_SUBSCRIPTION_CAPACITY")
    assert post(appliance, "a%20b/claim", claim)[0] == 400
    appliance.command("tenant", "claim", "fleet", "off")
    assert post(appliance, "d3/claim", claim)[0] == 401
    counted = appliance.query("SELECT count(*), sum(active_device_count) FROM subscriptions WHERE tenant_id = 'fleet'")
    assert counted == [(1, 2)]
