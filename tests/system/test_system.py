"""What a whole appliance reports of itself: its real tasks, restarts of its children, its accounting; and no secret."""

import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx

from tests.support.appliance_process import ApplianceProcess
from tests.support.web.accounts import signed_in

PATIENCE = 30.0
SERVICES = {
    "postgres",
    "connections",
    "pipeline",
    "provisioner",
    "mosquitto",
    "broker session",
    "broker source",
    "process metrics",
}


def operator(appliance: ApplianceProcess) -> httpx.Client:
    """A program of an operator."""
    person = signed_in(appliance.conninfo())
    return httpx.Client(verify=False, base_url=appliance.run["web_url"], headers=person.headers(), timeout=60)


def until(look: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
    """What ``look`` gives once it is right."""
    deadline = time.monotonic() + PATIENCE
    while not right(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def publish(appliance: ApplianceProcess, *payloads: str) -> None:
    claim = appliance.tenant()
    address = ["-h", "127.0.0.1", "-p", str(appliance.mqtt_port), "-u", claim["username"], "-P", claim["password"]]
    for payload in payloads:
        topic = "tenant/fleet/device/one/telemetry"
        subprocess.run(["mosquitto_pub", *address, "-q", "1", "-t", topic, "-m", payload], check=True)


def test_the_tree_is_that_of_the_running_process_and_counts_restarts_of_its_children(
    appliance: ApplianceProcess,
) -> None:
    appliance.start()
    with operator(appliance) as asking:

        def tasks() -> dict[str, dict[str, Any]]:
            return {task["name"]: task for task in asking.get("/operator/system").json()["tasks"]}

        found = tasks()
        assert found.keys() >= SERVICES
        assert {name: found[name]["state"] for name in SERVICES} == dict.fromkeys(SERVICES, "running")
        inner = {task["name"] for task in found["pipeline"]["tasks"]}
        assert inner >= {"Pipeline._admit", "Pipeline._commit"}, "from its nursery, without its doing"
        assert found["mosquitto"]["restarts"] == 0

        pid = int(found["mosquitto"]["doing"].rpartition(" ")[2])
        os.kill(pid, signal.SIGKILL)
        again = until(tasks, lambda now: now["mosquitto"]["restarts"] == 1 and now["mosquitto"]["state"] == "running")
        assert "SIGKILL" in again["mosquitto"]["last_error"]
        assert again["mosquitto"]["doing"] != found["mosquitto"]["doing"]


def test_accounting_rates_and_latencies_are_those_of_what_was_sent(appliance: ApplianceProcess) -> None:
    appliance.start()
    publish(appliance, '{"temperature": 1}', '{"temperature": 2}', "nonsense")
    with operator(appliance) as asking:

        def system() -> dict[str, Any]:
            reported: dict[str, Any] = asking.get("/operator/system").json()
            return reported

        reported = until(system, lambda now: now["today"]["books"]["received"] == 3)
        accounting = reported["today"]["books"]
        assert (accounting["stored"], accounting["refused"], reported["today"]["balanced"]) == (2, 1, True)
        assert reported["receive_to_commit"]["count"] >= 1
        assert 0 < reported["receive_to_commit"]["median"] <= reported["receive_to_commit"]["p99"] < 10
        assert reported["versions"]["schema"] == reported["versions"]["schema_needed"]
        assert reported["broker_terms"]["inflight_messages"] == 4096
        assert all(bound["now"] <= bound["most"] for bound in reported["bounds"])

        def kept() -> dict[str, int]:
            publish(appliance, '{"temperature": 3}')  # the news of a new device has it looked up once more
            return {bound["name"]: bound["now"] for bound in system()["bounds"]}

        names = ("Rate buckets", "Registry cache", "Topics remembered")
        until(kept, lambda now: [now[name] for name in names] == [1, 1, 1])
        disk = until(system, lambda now: now["disk"] is not None)["disk"]
        assert disk["postgres"] > 10_000_000
        until(system, lambda now: now["queue"]["now"] == 0)


def test_diagnostics_and_support_bundle_hold_no_secret(appliance: ApplianceProcess) -> None:
    appliance.start()
    claim = appliance.tenant()
    device = appliance.command("device", "add", "fleet", "one")
    instance = json.loads((appliance.data_dir / "instance.json").read_text())
    keys = [key["secret"] for key in json.loads((appliance.data_dir / "keys.json").read_text())]
    with operator(appliance) as asking:
        answered = asking.get("/operator/system/diagnostics")
        session = asking.headers["Cookie"].partition("=")[2]
        bundle = asking.get("/operator/system/support-bundle")
    assert (answered.status_code, bundle.status_code) == (200, 200), bundle.text
    reported = answered.json()
    with zipfile.ZipFile(BytesIO(bundle.content)) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert "Missing:" not in files["CONTENTS.txt"], files["CONTENTS.txt"]
    assert {task["name"] for task in json.loads(files["process.json"])["tasks"]} >= SERVICES
    assert "appliance_messages_total" in files["metrics.txt"]
    assert reported["settings"]["broker.port"] == appliance.mqtt_port
    assert reported["system"]["instance"] == instance["instance_id"]
    for secret in (claim["password"], device["password"], device["token"], instance["mqtt_client_id"], session, *keys):
        assert secret not in answered.text
        assert [name for name, text in files.items() if secret in text] == []
