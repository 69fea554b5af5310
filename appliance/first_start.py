"""The first start: with an empty database, a tenant with a trial and a device, so that a first message can be sent."""

from datetime import UTC, datetime, timedelta

import structlog

from appliance.clock import Clock
from appliance.db.audit import Actor, ActorKind
from appliance.db.pool import Pool
from appliance.devices import credentials, seats, tenants
from appliance.devices.credentials import Issued
from appliance.devices.device import NewDevice
from appliance.devices.seats import By
from appliance.errors import Conflict
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import SubscriptionType
from appliance.subscriptions.store import NewSubscription

TENANT = "demo"
DEVICE = "first"
SEATS = 10
TERM = timedelta(days=30)

ACTOR = Actor("first start", ActorKind.APPLIANCE)

log = structlog.get_logger(__name__)


async def make_first_device(pool: Pool, clock: Clock) -> Issued | None:
    """Make the tenant, its trial and the device, unless there is any tenant. The device's secrets, this one time."""
    by = By(ACTOR, datetime.fromtimestamp(clock.wall(), UTC))
    async with pool.connection() as connection:
        if not await tenants.is_empty(connection):
            return None
        try:
            async with connection.transaction():
                await tenants.add(connection, TENANT, ACTOR)
                trial = NewSubscription(TENANT, SubscriptionType.TRIAL, SEATS, TERM)
                await store.add(connection, trial, actor=ACTOR, now=by.now)
                await seats.create(connection, TENANT, NewDevice(DEVICE), by)
                issued = await credentials.create(connection, TENANT, DEVICE, by)
        except Conflict:  # another appliance starts on this database at the same moment
            return None
    log.info("first tenant made", tenant=TENANT, seats=SEATS, device=DEVICE)
    return issued
