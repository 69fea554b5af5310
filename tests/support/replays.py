"""Held messages and their replays: a full subscription, a replay that is asked for, and its worker."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import trio

from appliance.clock import SystemClock
from appliance.config import Ingest, Retention
from appliance.devices.seats import changes as seats
from appliance.ingest.quarantine import replays
from appliance.ingest.quarantine.replayer import Replayer
from appliance.ingest.quarantine.replays import Replay
from appliance.ingest.quarantine.store import Selection
from appliance.subscriptions import store
from tests.support.pipeline import (
    TENANT,
    IngestStack,
    furnish,
    open_ingest,
    telemetry,
)
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE

ALL = Selection(tenant_id=TENANT)
in_small_slices = pytest.mark.usefixtures("small_slices")
"""Marks a test whose replays take ten messages a slice."""


def replayer(stack: IngestStack, instance: str = "one") -> Replayer:
    """Return a worker that carries out replays on the stack's database."""
    return Replayer(
        stack.pool,
        instance,
        stack.registry,
        stack.states,
        SystemClock(),
        Ingest(),
        Retention(),
        lambda: 0,
        stack.metrics,
        trio.lowlevel.checkpoint,
    )


async def ask(stack: IngestStack, selection: Selection = ALL) -> Replay:
    """Ask for a replay, and do nothing of it yet."""
    async with stack.pool.connection() as connection:
        return await replays.request_replay(connection, selection, BY)


async def finish(stack: IngestStack, replay: Replay, worker: Replayer | None = None) -> Replay:
    """Work until there is nothing left to do, and return the replay as it is then."""
    worker = worker or replayer(stack)
    while await worker.step():
        pass
    async with stack.pool.connection() as connection:
        return await replays.get_replay(connection, replay.replay_id)


async def replayed(stack: IngestStack, selection: Selection = ALL) -> Replay:
    """Ask for a replay and carry it out."""
    return await finish(stack, await ask(stack, selection))


async def raise_limit(stack: IngestStack, limit: int) -> None:
    """Raise the limit of the only subscription, and have the registry forget, as its listener would."""
    async with stack.pool.connection() as connection:
        [subscription] = await store.list_all(connection, TENANT)
        changes = store.Changes(device_limit=limit)
        now = datetime.now(UTC)
        await store.change(
            connection, TENANT, subscription.subscription_id, changes, replace(BY, now=now, settled=now), grace=GRACE
        )
    stack.registry.forget()


@asynccontextmanager
async def crowded(database: Database, devices: int, each: int = 1) -> AsyncIterator[IngestStack]:
    """Open ingest over a full subscription; each of ``devices`` others has ``each`` held messages with own times."""
    await furnish(database, seats=1)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("seated", b'{"t":1}'))
        start = int(time.time()) - 3600
        messages = [
            telemetry(f"d{number:03}", b'{"ts":%d,"n":%d}' % (start + turn, turn))
            for turn in range(each)
            for number in range(devices)
        ]
        await stack.send(*messages)
        yield stack


async def approve(stack: IngestStack, device_id: str) -> None:
    """Approve a device, and have the registry read it anew."""
    async with stack.pool.connection() as connection:
        await seats.approve(
            connection, TENANT, device_id, replace(BY, now=datetime.now(UTC), settled=datetime.now(UTC)), grace=GRACE
        )
    stack.registry.forget()
