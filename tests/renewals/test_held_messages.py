"""An EXPIRED subscription that is renewed: what was held meanwhile is offered, and stored once."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from appliance.clock import SystemClock
from appliance.config import Ingest, Retention
from appliance.errors import NotFound
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.ingest.quarantine.replays import ReplayStatus
from appliance.reading import Reason
from appliance.renewals.plan import Request
from appliance.renewals.renewal import renew
from tests.renewals.family import POLICY
from tests.support.pipeline import TENANT, arrange, furnish, ledger_sums, look, open_ingest, telemetry
from tests.support.postgres_server import Database
from tests.support.replays import replayed
from tests.support.tenants import BY, GRACE

DEVICES, HELD = 20, 1000
EXPIRE = "UPDATE subscriptions SET term_start = '2020-01-01', term_end = '2020-02-01'"


async def test_what_an_expired_subscription_held_is_offered_after_its_renewal_and_stored_once(
    database: Database,
) -> None:
    await furnish(database, seats=DEVICES)
    base = int(time.time() * 1000) - 3_600_000
    async with open_ingest(database) as stack:
        offers = ReplayPreviewer(stack.pool, stack.registry, SystemClock(), Ingest(), Retention(), grace=GRACE).offers
        await stack.send(*(telemetry(f"d{number}", b"{}") for number in range(DEVICES)))
        arrange(database, EXPIRE)
        stack.registry.forget()
        for first in range(0, HELD, 200):
            numbers = range(first, first + 200)
            await stack.send(*(telemetry(f"d{n % DEVICES}", b'{"ts":%d,"seq":%d}' % (base + n, n)) for n in numbers))
        reasons = look(database, "SELECT reason, status, count(*) FROM quarantine_events GROUP BY 1, 2")
        assert reasons == [(Reason.SUBSCRIPTION_EXPIRED.value, "HELD", HELD)]
        assert await offers(TENANT) == []

        [(subscription,)] = look(database, "SELECT subscription_id FROM subscriptions")
        now = datetime.now(UTC)
        async with stack.pool.connection() as connection:
            by = replace(BY, now=now, settled=now)
            await renew(connection, TENANT, Request(subscription, 30), by, key=None, policy=POLICY, trusted=True)
        stack.registry.forget()
        [offer] = await offers(TENANT)
        assert (offer.reason, offer.messages, offer.devices) == (Reason.SUBSCRIPTION_EXPIRED, HELD, DEVICES)
        done = await replayed(stack)
        assert (done.status, done.replayed, done.refused) == (ReplayStatus.DONE, HELD, {})
        with pytest.raises(NotFound):  # a second replay has nothing to do
            await replayed(stack)
        assert await offers(TENANT) == []
    stored = look(database, "SELECT seq FROM telemetry WHERE seq IS NOT NULL ORDER BY seq")
    assert stored == [(number,) for number in range(HELD)]
    assert look(database, "SELECT DISTINCT status FROM quarantine_events") == [("REPLAYED",)]
    assert ledger_sums(database)["replayed"] == HELD
