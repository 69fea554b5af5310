"""A whole appliance deletes a tenant while devices of two tenants send: only the one's are refused, and it is gone."""

import json
import subprocess
import threading
import urllib.error
import urllib.request

from tests.support.accounting import look as balance
from tests.support.appliance_process import ApplianceProcess

LEAVING, STAYING = "leaving", "staying"


def post(appliance: ApplianceProcess, tenant: str, token: str, number: int) -> int:
    """Send a reading over HTTP; return the status of the answer."""
    request = urllib.request.Request(
        f"{appliance.run['web_url']}/ingest/tenant/{tenant}/device/d/telemetry",
        data=json.dumps({"n": number}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def publish(appliance: ApplianceProcess, user: str, password: str, topic: str) -> int:
    """Publish over MQTT as a device; return how mosquitto_pub ended."""
    return subprocess.run(
        ["mosquitto_pub", "-V", "5", "-h", "127.0.0.1", "-p", str(appliance.mqtt_port), "-u", user, "-P", password,
         "-q", "1", "-t", topic, "-m", '{"m": 1}'],
        check=False, capture_output=True, timeout=60,
    ).returncode  # fmt: skip


def test_while_a_tenant_is_deleted_the_others_lose_nothing(appliance: ApplianceProcess) -> None:
    appliance.start()
    devices = {}
    for tenant in (LEAVING, STAYING):
        appliance.tenant(tenant, seats=2)
        devices[tenant] = appliance.command("device", "add", tenant, "d")
    for tenant, device in devices.items():
        topic = f"tenant/{tenant}/device/d/telemetry"
        assert publish(appliance, device["username"], device["password"], topic) == 0, appliance.tail()
    statuses: dict[str, list[int]] = {LEAVING: [], STAYING: []}
    stop = threading.Event()

    def keep_sending(tenant: str) -> None:
        while not stop.is_set():
            statuses[tenant].append(post(appliance, tenant, devices[tenant]["token"], len(statuses[tenant])))

    senders = [threading.Thread(target=keep_sending, args=[tenant]) for tenant in statuses]
    for sender in senders:
        sender.start()
    try:
        ended = appliance.command("tenant", "delete", LEAVING, "--confirm", LEAVING, "--for-good")
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert ended["status"] == "DONE"
    assert set(statuses[STAYING]) == {202}
    assert statuses[LEAVING][-1] == 401
    assert post(appliance, LEAVING, devices[LEAVING]["token"], 0) == 401
    gone = devices[LEAVING]
    assert publish(appliance, gone["username"], gone["password"], f"tenant/{LEAVING}/device/d/telemetry") != 0
    assert appliance.query("SELECT tenant_rows_left(%s)", LEAVING) == []
    kept = appliance.query("SELECT tenant_id, count(*) FROM telemetry GROUP BY 1")
    assert kept == [(STAYING, len(statuses[STAYING]) + 1)]
    balance(appliance.conninfo())
    assert appliance.command("tenant", "add", LEAVING)["tenant_id"] == LEAVING
