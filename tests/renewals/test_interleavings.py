"""A renewal and something else at the same moment: every step of the one met by every step of the other .

Two transactions walk statement by statement. Each is stopped before one of its own, and both go on together; what the
lock of the other keeps from getting so far is let go on as well. Afterwards somebody else looks at what has to hold
(P6 to P9, P16 to P18), and no deadlock has reached whoever asked.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg

from appliance.db.trio_psycopg import Connection
from appliance.devices import description
from appliance.devices.credentials import credential
from appliance.devices.device import Event, NewDevice
from appliance.devices.registry.provisioning import ProvisioningRequest, provision_once
from appliance.devices.seats import bulk, imports
from appliance.devices.seats import changes as seats
from appliance.errors import ApplianceError, Conflict
from appliance.renewals.plan import Request
from appliance.renewals.renewal import Renewed, renew
from appliance.subscriptions import rows, store
from appliance.subscriptions.lifecycle import SubscriptionType
from appliance.subscriptions.statuses import record_statuses
from tests.renewals.family import ADDON, DAY, ENDS, FEWER, MAIN, OTHER, POLICY, check_family, column, end_of, found
from tests.support import soak
from tests.support.postgres_server import Database
from tests.support.stepping import Act, Walker, meet, stepped, steps_of
from tests.support.tenants import BY, GRACE, INGEST, NOW, registered

ActFor = Callable[[str], Act]
"""Makes the act for a tenant."""
SHORT = 100
"""Interleavings of the short version; the long one has all of them, which are more than LONG."""
LONG = 1000


def renewing(request: Request, key: str | None = None) -> ActFor:
    """Return what renews a tenant's subscription."""

    def for_tenant(tenant: str) -> Act:
        async def act(connection: Connection[Any]) -> object:
            return await renew(connection, tenant, request, BY, key=key, policy=POLICY, trusted=True)

        return act

    return for_tenant


def doing(what: Callable[[Connection[Any], str], Any]) -> ActFor:
    """Return what does something for a tenant."""

    def for_tenant(tenant: str) -> Act:
        async def act(connection: Connection[Any]) -> object:
            result: object = await what(connection, tenant)
            return result

        return act

    return for_tenant


def announcing(*devices: str) -> ActFor:
    """Return what registers new devices at their first message, over MQTT and HTTP alike."""
    return doing(
        lambda connection, tenant: provision_once(
            connection, [ProvisioningRequest(tenant, name) for name in devices], now=NOW, settled=NOW, grace=GRACE
        )
    )


def patching(later: timedelta | None = None, **what: Any) -> ActFor:
    """Return what an operator changes of the MAIN, as it was when the form was opened."""

    async def patch(connection: Connection[Any], tenant: str) -> object:
        shown = await store.get(connection, tenant, MAIN)
        changes = store.Changes(term_end=None if later is None else shown.term_end + later, **what)
        version = store.version_of(shown)
        return await store.change(connection, tenant, MAIN, changes, BY, grace=GRACE, version=version)

    return doing(patch)


async def recording(connection: Connection[Any], tenant: str) -> object:
    """Record what 25 days make of the tenant's subscriptions, as the life of subscriptions does."""
    locked = await rows.lock(connection, [tenant])
    later = NOW + 25 * DAY
    return await record_statuses(connection, locked, now=later, settled=later, grace=GRACE)


RENEWAL = renewing(FEWER)
OPPONENTS: dict[str, ActFor] = {
    "the same renewal": RENEWAL,
    "the same renewal, with a key": renewing(FEWER, "key"),
    "another term": renewing(Request(MAIN, 30), "other"),
    "another subscription": renewing(Request(OTHER, 90)),
    "two new devices": announcing("n1", "n2"),
    "a new device and a known one": announcing("a4", "n1"),
    "approval": doing(lambda c, t: seats.approve(c, t, "p1", BY, grace=GRACE)),
    "deactivation of one that stops": doing(lambda c, t: seats.deactivate(c, t, "a4", BY, revoke_credential=True)),
    "deactivation of one that stays": doing(lambda c, t: seats.deactivate(c, t, "a1", BY)),
    "reactivation": doing(lambda c, t: seats.reactivate(c, t, "i1", BY, grace=GRACE)),
    "move of one that stops": doing(lambda c, t: seats.move(c, t, "a2", OTHER, BY, grace=GRACE)),
    "move to it": doing(lambda c, t: seats.move(c, t, "o1", MAIN, BY, grace=GRACE)),
    "steps for many": doing(
        lambda c, t: bulk.change_many(c, t, ["a5", "a4", "a1", "a2"], Event.DEACTIVATE, BY, grace=GRACE)
    ),
    "deletion": doing(lambda c, t: seats.delete(c, t, "a2", BY, keep_history=False)),
    "import": doing(
        lambda c, t: imports.import_many(
            c, t, [NewDevice(name, place="hall") for name in ("n2", "a4", "n1", "a2")], BY, grace=GRACE
        )
    ),
    "a lower limit": patching(device_limit=5),
    "a later end": patching(later=7 * DAY),
    "a hold": patching(hold_reason="unpaid"),
    "a sale": doing(
        lambda c, t: store.add(
            c, store.NewSubscription(t, SubscriptionType.ADDON, 3, timedelta(days=30)), BY, grace=GRACE
        )
    ),
    "the record of a status": doing(recording),
    "new secrets": doing(lambda c, t: credential.rotate(c, t, "a4", BY)),
    "a description": doing(lambda c, t: description.describe(c, t, "a2", description.Description(name="Two"), BY)),
}


class Meetings:
    """Tenants in which two transactions meet, and the connections for it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._number = 0
        self.met: Counter[bool] = Counter()
        self.deadlocks = 0

    async def run(self, choose: Callable[[list[tuple[str, int, int]]], list[tuple[str, int, int]]]) -> None:
        """Have those of all meetings that ``choose`` picks: the opponent, and the statements at which they meet."""
        with psycopg.connect(self._database.conninfo(), autocommit=True) as self.watcher:
            self.left = await stepped(self._database, INGEST)
            self.right = await stepped(self._database, INGEST)
            self.look = await stepped(self._database, INGEST)
            async with self.left, self.right, self.look:
                for name, own, others in choose(await self._all()):
                    await self._meet(name, own, others)

    async def _all(self) -> list[tuple[str, int, int]]:
        own = await steps_of(self.left, RENEWAL(self._tenant()))
        lengths = {name: await steps_of(self.right, act(self._tenant())) for name, act in OPPONENTS.items()}
        return [
            (name, step, other)
            for name, length in lengths.items()
            for step in range(1, own + 1)
            for other in range(1, length + 1)
        ]

    def _tenant(self) -> str:
        self._number += 1
        tenant = f"t{self._number}"
        found(self.watcher, tenant)
        return tenant

    async def _meet(self, name: str, own: int, others: int) -> None:
        tenant = self._tenant()
        ours = Walker(self.left, RENEWAL(tenant), own)
        theirs = Walker(self.right, OPPONENTS[name](tenant), others)
        pair = (ours, theirs) if (own + others) % 2 else (theirs, ours)
        self.met[await meet(self.look, *pair)] += 1
        place = f"{name}, {own} of ours and {others} of theirs"
        for walker in pair:
            if isinstance(walker.error, psycopg.errors.DeadlockDetected):
                self.deadlocks += 1
            assert walker.error is None or isinstance(walker.error, ApplianceError), (place, walker.error)
        answers = [walker.outcome.answer for walker in pair if isinstance(walker.outcome, Renewed)]
        try:
            check_family(self.watcher, tenant, answers)
        except AssertionError as error:
            raise AssertionError(f"{place}: {error}") from error
        self._check_outcome(tenant, ours, theirs, place)
        await self._check_known(tenant)

    def _check_outcome(self, tenant: str, ours: Walker, theirs: Walker, place: str) -> None:
        """Check that ours is there whole or not at all, and that one of them came through."""
        assert ours.error is None or theirs.error is None, (place, ours.error, theirs.error)
        if isinstance(ours.outcome, Renewed):
            end = end_of(self.watcher, tenant)
            assert end >= ours.outcome.answer.new_term_end >= ENDS + 365 * DAY, place
            assert end_of(self.watcher, tenant, ADDON) == end, place
        elif not isinstance(theirs.outcome, Renewed):
            assert end_of(self.watcher, tenant) <= ENDS + 7 * DAY, place

    async def _check_known(self, tenant: str) -> None:
        """Check that each device with a seat is served, and is not counted again."""
        query = "SELECT device_id FROM device_registry WHERE tenant_id = %s AND status = 'ACTIVE'"
        active = column(self.watcher, query, tenant)
        counts = "SELECT sum(active_device_count) FROM subscriptions WHERE tenant_id = %s"
        before = column(self.watcher, counts, tenant)
        requests = [ProvisioningRequest(tenant, name) for name in active]
        verdicts = await provision_once(self.look, requests, now=NOW, settled=NOW, grace=GRACE)
        assert len(registered(verdicts.values())) == len(active)
        assert column(self.watcher, counts, tenant) == before


async def test_a_renewal_meets_everything_else_at_every_step(database: Database) -> None:
    seed = random.randrange(2**32)

    def choose(pairs: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
        assert len(pairs) >= LONG
        chance = random.Random(seed)
        if soak.LONG:
            return chance.sample(pairs, len(pairs))
        each = SHORT // len(OPPONENTS) + 1
        return [pair for name in OPPONENTS for pair in chance.sample([p for p in pairs if p[0] == name], each)]

    meetings = Meetings(database)
    try:
        await meetings.run(choose)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    assert meetings.deadlocks == 0
    assert meetings.met[True] > meetings.met.total() / 10, f"seed {seed}: they hardly met"


async def raced(database: Database, sale: ActFor, renewal: ActFor, prepare: str) -> tuple[Walker, Walker]:
    """Ask for a renewal while a sale is about to commit; ``prepare`` is what happened to the family before."""
    with psycopg.connect(database.conninfo(), autocommit=True) as watcher:
        for tenant in ("before", "acme"):
            found(watcher, tenant)
        watcher.execute(prepare.encode())
        async with await stepped(database, INGEST) as seller, await stepped(database, INGEST) as customer:
            last = await steps_of(seller, sale("before"))
            selling, asking = Walker(seller, sale("acme"), last), Walker(customer, renewal("acme"), 0)
            async with await stepped(database, INGEST) as look:
                assert not await meet(look, selling, asking), "the renewal waits"
    assert selling.error is None
    return selling, asking


async def test_an_add_on_that_is_sold_while_its_main_one_is_renewed_follows_it(database: Database) -> None:
    """Who waits for a lock gets the rows that it began with; the one just sold is not among them."""
    _, asked = await raced(database, OPPONENTS["a sale"], renewing(Request(MAIN, 365)), "SELECT 1")
    assert isinstance(asked.outcome, Renewed)
    query = "SELECT term_end FROM subscriptions WHERE tenant_id = 'acme' AND subscription_type <> 'TEMPORARY'"
    with psycopg.connect(database.conninfo()) as watcher:
        assert column(watcher, query) == [ENDS + 365 * DAY] * 3


async def test_a_trial_is_not_renewed_beside_a_main_one_that_is_sold_at_the_same_moment(database: Database) -> None:
    main = store.NewSubscription("", SubscriptionType.MAIN, 3, timedelta(days=30))
    sale = doing(lambda c, t: store.add(c, replace(main, tenant_id=t), BY, grace=GRACE))
    prepare = (
        "DELETE FROM device_registry; DELETE FROM subscriptions WHERE subscription_type <> 'TEMPORARY';"
        " UPDATE subscriptions SET subscription_type = 'TRIAL', status = 'TRIAL'"
    )
    _, asked = await raced(database, sale, renewing(Request(OTHER, 365)), prepare)
    assert isinstance(asked.error, Conflict)
    assert "main subscription" in str(asked.error)
