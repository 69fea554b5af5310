"""A subscription that has expired holds what its devices send; renewing it lets all of that be stored, once."""

import time
from collections import Counter

import httpx
import trio

from appliance.people.role import Role
from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, Publisher, client, settled, stored
from tests.support.web.accounts import client as signed_client
from tests.support.web.accounts import signed_in

HELD = 1000
PATIENCE_SECONDS = 60
EXPIRE = """
UPDATE subscriptions SET term_start = now() - interval '600 days', term_end = now() - interval '200 days'
WHERE tenant_id = %s RETURNING subscription_id
"""
NEAR_ITS_END = """
UPDATE subscriptions SET term_start = now() - interval '300 days', term_end = now() + interval '20 days'
WHERE tenant_id = %s RETURNING 1
"""
WARNINGS = """
SELECT (details ->> 'days')::int, status, close_reason FROM fleet_alert WHERE alert_type = 'SUBSCRIPTION_EXPIRING'
"""
HELD_BY_REASON = "SELECT reason, count(*) FROM quarantine_events WHERE status = 'HELD' GROUP BY reason"


async def test_what_an_expired_subscription_held_is_offered_after_its_renewal_and_stored_once(
    appliance: ApplianceProcess,
) -> None:
    appliance.start()
    await trio.to_thread.run_sync(appliance.tenant)
    publisher = Publisher(TENANT, int(time.time() * 1000) - 3_600_000)
    async with client(appliance, "fleet") as device:
        await publisher.send(device, 10)
        await settled(appliance, 10)
        [(subscription,)] = appliance.query(EXPIRE, TENANT)
        with trio.fail_after(PATIENCE_SECONDS):
            while not appliance.query(HELD_BY_REASON):  # until ingest knows
                await publisher.send(device, 1)
                await trio.sleep(0.05)
        await publisher.send(device, HELD)
    await all_received(appliance, len(publisher.sent))
    [(reason, held)] = appliance.query(HELD_BY_REASON)
    assert (reason, held >= HELD) == ("SUBSCRIPTION_EXPIRED", True)
    person = signed_in(appliance.conninfo(), Role.ADMIN, TENANT)
    async with signed_client(appliance.run["web_url"], person) as admin:
        assert (await admin.get("/customer/quarantine/offers")).json() == []
        wanted = {"subscription_id": subscription, "term_days": 365}
        renewed = await admin.post("/customer/subscription/renew", json=wanted)
        assert (renewed.status_code, renewed.json()["changed"]) == (200, True), renewed.text
        offered = await offers(admin)
        assert [(one["reason"], one["messages"], one["devices"]) for one in offered] == [(reason, held, 10)]
        assert await replayed(admin) == ("DONE", held, {})
        assert (await admin.get("/customer/quarantine/offers")).json() == []
        assert (await admin.post("/customer/quarantine/replay", json={})).status_code == 404, "nothing is left"
        appliance.query(NEAR_ITS_END, TENANT)
        await warned(appliance, [(30, "OPEN", None)])
        renewed = await admin.post("/customer/subscription/renew", json=wanted | {"term_days": 90})
        assert renewed.json()["changed"] is True, renewed.text
        await warned(appliance, [(30, "CLOSED", "cleared")])
    assert Counter(stored(appliance)) == Counter(publisher.sent)
    look(appliance.conninfo())


async def warned(appliance: ApplianceProcess, expected: list[tuple[int, str, str | None]]) -> None:
    """Wait until these are the warnings of ends of terms, and where they stand."""
    with trio.fail_after(PATIENCE_SECONDS):
        while appliance.query(WARNINGS) != expected:
            await trio.sleep(0.05)


async def all_received(appliance: ApplianceProcess, count: int) -> None:
    """Wait until so many messages are accounted for."""
    with trio.fail_after(PATIENCE_SECONDS):
        while look(appliance.conninfo()).received < count:
            await trio.sleep(0.05)


async def offers(admin: httpx.AsyncClient) -> list[dict[str, object]]:
    """Return what is offered, once anything is."""
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            found: list[dict[str, object]] = (await admin.get("/customer/quarantine/offers")).json()
            if found:
                return found
            await trio.sleep(0.05)


async def replayed(admin: httpx.AsyncClient) -> tuple[str, int, dict[str, int]]:
    """Replay everything that is held; return its end, how many were stored, and what was refused again."""
    job = (await admin.post("/customer/quarantine/replay", json={})).json()
    with trio.fail_after(PATIENCE_SECONDS):
        while job["ended_at"] is None:
            await trio.sleep(0.05)
            job = (await admin.get(f"/customer/quarantine/replays/{job['replay_id']}")).json()
    return job["status"], job["replayed"], job["refused"]
