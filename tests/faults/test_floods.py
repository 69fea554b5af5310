"""Users who flood the broker with retained messages stop it for nobody else (P25), and nothing of it is left."""

import json
import re
import subprocess
import threading
import time

from appliance.children.mosquitto_files import BrokerLimits
from tests.support.appliance_process import ApplianceProcess
from tests.support.flooder import Flood, connect, publish_packet
from tests.support.project import ROOT
from tests.support.soak import times

SECONDS = times(6)
LARGE, SMALL = 30_000, 100
PATIENCE = 120.0
LARGE_RATE, SMALL_RATE = 600.0, 4000.0
"""Messages a second: 18 MB a second each of the large ones, a flood for any machine that the tests run on."""


class Neighbour:
    """A device of another tenant that publishes with QoS 1, one message after the other."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self._port, self._user, self._password = port, username, password
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged = 0
        self.failures: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        topic = f"tenant/{self._user}/telemetry"
        try:
            link = connect(self._port, self._user, self._password, self._user)
            while not self._stopped.wait(0.05):
                payload = json.dumps({"ts": time.time(), "n": self.acknowledged}).encode()
                link.sendall(publish_packet(topic, payload, packet_id=self.acknowledged % 60_000 + 1))
                if link.recv(4)[:1] != b"\x40":
                    raise ConnectionError("no PUBACK")
                self.acknowledged += 1
            link.close()
        except OSError as error:
            self.failures.append(repr(error))


def gauge(appliance: ApplianceProcess, name: str) -> float:
    """The value of a metric, 0 while it is not there."""
    found = re.search(rf"^appliance_{re.escape(name)} (\S+)$", appliance.get("/metrics").decode(), re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def kept(appliance: ApplianceProcess) -> float:
    """How many retained messages the broker holds, its own statistics included."""
    return gauge(appliance, "broker_retained_messages")


def floods(appliance: ApplianceProcess) -> list[Flood]:
    """A claim user that invents devices, with large messages and with many, and a device with its own three topics."""
    found = []
    for tenant, size, rate in (("large", LARGE, LARGE_RATE), ("many", SMALL, SMALL_RATE)):
        claim = appliance.tenant(tenant, seats=10)
        topics = tuple(f"tenant/{tenant}/device/g{{}}/{kind}" for kind in ("telemetry", "heartbeat", "status"))
        found.append((claim["username"], claim["password"], topics, size, rate))
    appliance.tenant("device", seats=10)
    device = appliance.command("device", "add", "device", "d1")
    own = tuple(f"tenant/{device['username']}/{kind}" for kind in ("telemetry", "heartbeat", "status"))
    found.append((device["username"], device["password"], own, LARGE, LARGE_RATE))
    return [
        Flood(appliance.mqtt_port, user, password, topics, size, rate, SECONDS)
        for user, password, topics, size, rate in found
    ]


def test_retained_floods_stop_nobody_else_and_leave_nothing(appliance: ApplianceProcess) -> None:
    appliance.settings |= {"APPLIANCE_LIMITS_RATE": "50", "APPLIANCE_LIMITS_BURST": "200"}
    appliance.start()
    flooding = floods(appliance)
    appliance.tenant("quiet", seats=1)
    device = appliance.command("device", "add", "quiet", "d1")
    while not (before := kept(appliance)):
        time.sleep(0.1)
    neighbour = Neighbour(appliance.mqtt_port, device["username"], device["password"])
    neighbour.start()
    processes = [
        subprocess.Popen(flood.command(), cwd=ROOT, stdout=subprocess.PIPE, text=True, env=appliance.environment())
        for flood in flooding
    ]
    highest = 0.0
    try:
        while any(process.poll() is None for process in processes):
            highest = max(highest, gauge(appliance, "broker_allocated_bytes"))
            time.sleep(0.25)
        told = [json.loads(process.communicate()[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        neighbour.stop()

    assert all(one["sent"] and one["refused"] for one in told), f"a flood went on to its end: {told}"
    assert neighbour.failures == []
    assert neighbour.acknowledged > SECONDS
    deadline = time.monotonic() + PATIENCE
    stored = "SELECT count(*) FROM telemetry WHERE tenant_id = 'quiet'"
    while appliance.query(stored) != [(neighbour.acknowledged,)] or kept(appliance) > before:
        assert time.monotonic() < deadline, (appliance.query(stored), neighbour.acknowledged, kept(appliance), before)
        time.sleep(0.2)
    assert gauge(appliance, "broker_dropped_messages") == 0
    assert highest < 0.9 * BrokerLimits().memory_bytes
    causes = re.findall(
        r'^appliance_broker_floods_total\{cause="(\w+)"\}', appliance.get("/metrics").decode(), re.MULTILINE
    )
    assert set(causes) <= {"retained", "refused"}
    assert json.loads(appliance.get("/readyz"))["status"] == "ready"
