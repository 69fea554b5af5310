"""Alert rules over the whole appliance: made over the API, judged in the stream, kept over a restart."""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from mqtt5 import QoS

from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, client

PATIENCE = 40.0
RULES: Mapping[str, Mapping[str, Any]] = {
    "threshold": {
        "kind": "threshold",
        "metric": "temperature",
        "operator": "GT",
        "value": 8,
        "clear_value": 6,
        "for_count": 2,
        "conditions": [{"metric": "hatch_open", "operator": "EQ", "value": False, "max_age_seconds": 3600}],
        "scope": {"device_prefixes": ["d-"]},
    },
    "window": {
        "kind": "window",
        "metric": "humidity",
        "aggregate": "avg",
        "window_seconds": 60,
        "operator": "GTE",
        "value": 70,
    },
    "change": {"kind": "change", "metric": "mode", "to": "manual"},
}
CALM = {"temperature": 5, "humidity": 40, "mode": "auto", "hatch_open": False}
BREACH = {"temperature": 9, "humidity": 90, "mode": "manual", "hatch_open": False}


def token_of(appliance: ApplianceProcess) -> str:
    """Return the API token of a new administrator."""
    appliance.command("user", "add", "kim@fleet.example", "--role", "admin", "--tenant", TENANT)
    issued = appliance.command("token", "add", "kim@fleet.example", "--scopes", "read,write", "--days", "1")
    return str(issued["token"])


@asynccontextmanager
async def program(appliance: ApplianceProcess, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """A program that shows the token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=appliance.run["web_url"], headers=headers, timeout=20) as http:
        yield http


class Device:
    """A device that says something every minute, as its own clock goes."""

    def __init__(self) -> None:
        self._ts = round(time.time() - 86_400) * 1000

    async def says(self, connection: Client, *readings: Mapping[str, Any]) -> None:
        """Send readings, each a minute after the one before."""
        for values in readings:
            self._ts += 60_000
            payload = json.dumps({"ts": self._ts, "metrics": values}).encode()
            await connection.publish(f"tenant/{TENANT}/device/d-1/telemetry", payload, qos=QoS.AT_LEAST_ONCE)

    async def until(
        self, connection: Client, readings: Sequence[Mapping[str, Any]], http: httpx.AsyncClient, wanted: int
    ) -> None:
        """Send the readings again and again until each rule has so many open alerts."""
        counted: dict[str, int] = {}
        with trio.move_on_after(PATIENCE):
            while set(counted.values()) != {wanted}:
                await self.says(connection, *readings)
                for _ in range(20):
                    rules = (await http.get("/customer/alert-rules?sort=name")).json()["items"]
                    counted = {one["name"]: one["open_alerts"] for one in rules if one["name"] in RULES}
                    if set(counted.values()) == {wanted}:
                        break
                    await trio.sleep(0.05)
            return
        raise AssertionError(f"wanted {wanted} open alerts of each, counted {counted}")


async def test_rules_made_over_the_api_open_and_close_alerts_also_after_a_restart(appliance: ApplianceProcess) -> None:
    appliance.start()
    await trio.to_thread.run_sync(appliance.tenant)
    token, device = await trio.to_thread.run_sync(token_of, appliance), Device()
    async with program(appliance, token) as http, client(appliance, "before") as connection:
        for name, given in RULES.items():
            made = await http.post("/customer/alert-rules", json={"name": name, "severity": "high", **given})
            assert made.status_code == 201, made.text
        await device.until(connection, [CALM, BREACH, BREACH], http, 1)
    assert await trio.to_thread.run_sync(appliance.stop) == 0
    await trio.to_thread.run_sync(appliance.start)
    async with program(appliance, token) as http, client(appliance, "after") as connection:
        await device.until(connection, [CALM], http, 0)
        rules = (await http.get("/customer/alert-rules")).json()["items"]
        assert [one["name"] for one in rules if one["name"] in RULES and not one["opened_30_days"]] == []
    query = (
        "SELECT DISTINCT alert_type, device_id, severity, close_reason FROM fleet_alert WHERE rule_id = ANY(%s::uuid[])"
    )
    ours = [one["rule_id"] for one in rules if one["name"] in RULES]
    found = await trio.to_thread.run_sync(appliance.query, query, ours)
    assert sorted(found) == [(kind, "d-1", "high", "cleared") for kind in ("CHANGE", "THRESHOLD", "WINDOW")]
