"""A process that provisions devices, many at once: ``python -m tests.devices.registry.contender CONNINFO CALLERS IDS``.

Each caller has a connection and a transaction for each of its devices. Says ``ready`` and waits for a line; then prints
what became of each first message, as JSON: the subscription of the seat, or the reason of the refusal.
"""

import random
import sys
from typing import Any

import msgspec
import psycopg
import trio

from appliance.db.pool import Pool, open_pool
from appliance.devices.device import Device
from appliance.devices.registry.provisioning import ProvisioningRequest, ProvisioningResult, provision_once
from tests.support.tenants import GRACE, NOW, TENANT

CONTENDED = {"40001", "40P01", "55P03"}


async def call(pool: Pool, device: str) -> ProvisioningResult:
    """One first message, tried again as the Provisioner would."""
    while True:
        async with pool.connection() as connection:
            try:
                return (
                    await provision_once(
                        connection, [ProvisioningRequest(TENANT, device)], now=NOW, settled=NOW, grace=GRACE
                    )
                )[TENANT, device]
            except psycopg.Error as error:
                if error.sqlstate not in CONTENDED:
                    raise
        await trio.sleep(0.02 * random.random())


async def contend(conninfo: str, callers: int, devices: list[str]) -> list[str]:
    """All callers at once, each with every device, in an order of its own."""
    verdicts: list[str] = []

    async def caller(pool: Pool) -> None:
        for device in random.sample(devices, len(devices)):
            verdict = await call(pool, device)
            verdicts.append(str(verdict.subscription_id if isinstance(verdict, Device) else verdict.reason))

    async with open_pool(conninfo, name="contender", min_size=15, max_size=15) as pool:
        print("ready", flush=True)  # noqa: T201 - the other end of a pipe
        await trio.to_thread.run_sync(sys.stdin.readline)
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(caller, pool)
    return verdicts


def main(arguments: list[Any]) -> None:
    """Contend as the command line says."""
    conninfo, callers, devices = arguments
    verdicts = trio.run(contend, conninfo, int(callers), devices.split(","))
    print(msgspec.json.encode(verdicts).decode(), flush=True)  # noqa: T201 - the other end of a pipe


if __name__ == "__main__":
    main(sys.argv[1:])
