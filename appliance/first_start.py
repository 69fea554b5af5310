"""The first start: with an empty database, a tenant with a trial, so that the first message has somewhere to go."""

from datetime import UTC, datetime, timedelta

import structlog

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.audit import Actor, ActorKind
from appliance.db.pool import Pool
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import SubscriptionType
from appliance.subscriptions.store import NewSubscription

TENANT = "demo"
SEATS = 10
TERM = timedelta(days=30)

STATEMENTS = statements.load("first_start")
ACTOR = Actor("first start", ActorKind.APPLIANCE)

log = structlog.get_logger(__name__)


async def make_first_tenant(pool: Pool, clock: Clock) -> bool:
    """Make the tenant and its trial, unless there is any tenant; whether they were made."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(STATEMENTS["insert_first_tenant"], {"tenant": TENANT})
        if await cursor.fetchone() is None:
            return False
        trial = NewSubscription(TENANT, SubscriptionType.TRIAL, SEATS, TERM)
        await store.add(connection, trial, actor=ACTOR, now=datetime.fromtimestamp(clock.wall(), UTC))
    log.info("first tenant made", tenant=TENANT, seats=SEATS)
    return True
