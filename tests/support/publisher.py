"""A device that records every message it sends, so that a test can compare them with the table."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import trio

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess

Entry = tuple[str, int, int]
"""(device, ts in milliseconds, seq)"""

BASE_TS = 1_700_000_000_000

TENANT = "fleet"


def client(appliance: ApplianceProcess, name: str, tenant_id: str = TENANT) -> AbstractAsyncContextManager[Client]:
    """Return a connection as the claim user of a tenant, which may speak for any new device of it.

    It survives restarts of the broker."""
    user = appliance.tenant(tenant_id)
    return Client(
        "127.0.0.1",
        appliance.mqtt_port,
        identifier=name,
        username=user["username"],
        password=user["password"],
        session_expiry_interval=3600,
        keep_trying=True,
        backoff=Backoff(first=0.05, maximum=0.2),
    )


class Publisher:
    """A sender of numbered messages of ``devices`` devices with times of their own; it records each in ``sent``."""

    def __init__(self, tenant: str, base_ms: int, devices: int = 10) -> None:
        self.tenant = tenant
        self.sent: set[Entry] = set()
        self._base = base_ms
        self._devices = devices
        self._number = 0

    def messages(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Yield the next ``count`` messages; each is in ``sent`` once it is handed out."""
        for _ in range(count):
            number = self._number
            self._number += 1
            device, ts = f"d{number % self._devices}", self._base + number
            self.sent.add((device, ts, number))
            payload = b'{"ts":%d,"seq":%d,"temperature":21.5,"humidity":40,"battery":3.6}' % (ts, number)
            yield f"tenant/{self.tenant}/device/{device}/telemetry", payload

    async def send(self, through: Client, count: int, group: int = 200, pause: float = 0.0) -> None:
        """Send ``count`` messages in groups; every one of them was acknowledged by the broker when it returns."""
        for start in range(0, count, group):
            await through.publish_many(self.messages(min(group, count - start)))
            await trio.sleep(pause)


def stored(appliance: ApplianceProcess) -> list[Entry]:
    """Return the rows of the table in the form of a publisher's ``sent``."""
    rows = appliance.query("SELECT device_id, (extract(epoch FROM ts) * 1000)::bigint, seq FROM telemetry")
    return [(device, ts, seq) for device, ts, seq in rows]


def ledger_sums(appliance: ApplianceProcess) -> dict[str, int]:
    """Return the sums of the appliance's ledger."""
    columns = "received", "stored", "refused", "duplicate", "cleared"
    sums = ", ".join(f"coalesce(sum({column}), 0)::bigint" for column in columns)
    return dict(zip(columns, appliance.query(f"SELECT {sums} FROM ingest_ledger")[0], strict=True))


async def settled(appliance: ApplianceProcess, expected: int, timeout: float = 120) -> None:
    """Wait until the table holds ``expected`` rows; fails when it does not in time."""
    deadline = trio.current_time() + timeout
    found = 0
    while found < expected and trio.current_time() < deadline:
        found = (await trio.to_thread.run_sync(appliance.query, "SELECT count(*) FROM telemetry"))[0][0]
        await trio.sleep(0.1)
    assert found == expected, f"{found} rows for {expected} messages\n{appliance.tail()}"
