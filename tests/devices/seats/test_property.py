"""P6 to P9 over whatever people and devices may do, in any order and at once, seen from a second connection.

Hypothesis makes up bouts: a few acts that happen at the same moment, each on a connection of its own. After every bout
the books are read by somebody else, and every device that is ACTIVE announces itself: it is known, and takes no seat.
An act may be refused in the ways it is documented to be; anything else, a deadlock included, fails.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import psycopg
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.device import NewDevice
from appliance.devices.registry.provisioning import ProvisioningRequest, provision_once
from appliance.devices.seats import changes as seats
from appliance.devices.seats.imports import import_many
from appliance.errors import Conflict, Invalid, NoCapacity, NotFound
from appliance.renewals.plan import Request
from appliance.renewals.policy import RenewalPolicy
from appliance.renewals.renewal import renew
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support import soak
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, INGEST, NOW, add_tenant, check_seats, registered, rows, sell

REFUSALS = (Conflict, Invalid, NoCapacity, NotFound)
POLICY = RenewalPolicy(GRACE, opens_days=30, plans={})
ON_SUBSCRIPTION = (
    "SELECT device_id FROM device_registry WHERE tenant_id = %s AND subscription_id = %s ORDER BY device_id DESC"
)
EXAMPLES = soak.times(10)
BOUTS = 12

Subscriptions = Sequence[str]
Act = Callable[[Connection[Any], str, Subscriptions], Awaitable[object]]

devices = st.sampled_from(["a", "b", "c", "d", "e", "f"])
which = st.integers(0, 2)


def create(device: str, subscription: int | None) -> Act:
    """A person registers a device."""

    async def act(connection: Connection[Any], tenant: str, sold: Subscriptions) -> object:
        wanted = None if subscription is None else sold[subscription]
        return await seats.create(connection, tenant, NewDevice(device, subscription_id=wanted), BY, grace=GRACE)

    return act


def provision(names: list[str]) -> Act:
    """Devices announce themselves."""

    async def act(connection: Connection[Any], tenant: str, _: Subscriptions) -> object:
        return await provision_once(
            connection, [ProvisioningRequest(tenant, name) for name in names], now=NOW, settled=NOW, grace=GRACE
        )

    return act


def bring(names: list[str]) -> Act:
    """A person imports a list."""

    async def act(connection: Connection[Any], tenant: str, _: Subscriptions) -> object:
        return await import_many(connection, tenant, [NewDevice(name) for name in names], BY, grace=GRACE)

    return act


def change(verb: str, device: str) -> Act:
    """A person changes a device."""

    async def act(connection: Connection[Any], tenant: str, _: Subscriptions) -> object:
        match verb:
            case "deactivate":
                return await seats.deactivate(connection, tenant, device, BY)
            case "reactivate":
                return await seats.reactivate(connection, tenant, device, BY, grace=GRACE)
            case "revoke":
                return await seats.revoke(connection, tenant, device, BY)
            case _:
                return await seats.delete(connection, tenant, device, BY, keep_history=True)

    return act


def move(device: str, subscription: int) -> Act:
    """A person moves a device."""

    async def act(connection: Connection[Any], tenant: str, sold: Subscriptions) -> object:
        return await seats.move(connection, tenant, device, sold[subscription], BY, grace=GRACE)

    return act


def limit(subscription: int, seats_sold: int) -> Act:
    """An operator raises or lowers a limit."""

    async def act(connection: Connection[Any], tenant: str, sold: Subscriptions) -> object:
        changes = store.Changes(device_limit=seats_sold)
        return await store.change(connection, tenant, sold[subscription], changes, BY, grace=GRACE)

    return act


def renewal(seats_sold: int) -> Act:
    """A customer renews the MAIN, on fewer or more seats, and names the devices that have to stop for it."""

    async def act(connection: Connection[Any], tenant: str, sold: Subscriptions) -> object:
        active = await rows(connection, ON_SUBSCRIPTION, tenant, sold[0])
        stopping = tuple(device for (device,) in active[seats_sold:])
        request = Request(sold[0], 30, seats_sold, devices_to_deactivate=stopping, again=True)
        return await renew(connection, tenant, request, BY, key=str(uuid4()), policy=POLICY, trusted=True)

    return act


acts = st.one_of(
    st.builds(create, devices, st.none() | which),
    st.builds(provision, st.lists(devices, min_size=1, max_size=4)),
    st.builds(bring, st.lists(devices, min_size=1, max_size=4)),
    st.builds(change, st.sampled_from(["deactivate", "reactivate", "revoke", "delete"]), devices),
    st.builds(move, devices, which),
    st.builds(limit, which, st.integers(1, 4)),
    st.builds(renewal, st.integers(1, 4)),
)


class Seats(RuleBasedStateMachine):
    """One tenant with three subscriptions an example."""

    database: Database
    examples = 0

    @initialize(limits=st.tuples(*[st.integers(1, 3)] * 3))
    def begin(self, limits: tuple[int, int, int]) -> None:
        """A tenant of this example's own."""
        type(self).examples += 1
        self.tenant = f"t{self.examples}"
        self.sold = trio.run(self._begin, limits)

    async def _begin(self, limits: tuple[int, int, int]) -> list[str]:
        async with await connect(self.database.conninfo(INGEST)) as connection:
            await add_tenant(connection, self.tenant)
            kinds = (SubscriptionType.MAIN, SubscriptionType.ADDON, SubscriptionType.TRIAL)
            return [
                (await sell(connection, count, kind, tenant_id=self.tenant)).subscription_id
                for count, kind in zip(limits, kinds, strict=True)
            ]

    @rule(bout=st.lists(acts, min_size=1, max_size=4))
    def happen(self, bout: list[Act]) -> None:
        """All acts of a bout at once."""
        trio.run(self._happen, bout)

    async def _happen(self, bout: list[Act]) -> None:
        async with trio.open_nursery() as nursery:
            for act in bout:
                nursery.start_soon(self._perform, act)

    async def _perform(self, act: Act) -> None:
        async with await connect(self.database.conninfo(INGEST)) as connection:
            try:
                await act(connection, self.tenant, self.sold)
            except REFUSALS:
                return

    @invariant()
    def accounting_balances(self) -> None:
        """P6, P7: read by somebody else."""
        if hasattr(self, "sold"):
            check_seats(self.database, self.tenant)

    @invariant()
    def known_devices_are_served_and_not_counted_again(self) -> None:
        """P9: whatever is full."""
        if not hasattr(self, "sold"):
            return
        before = self._registry()
        active = [device for device, status in before if status == "ACTIVE"]
        if not active:
            return

        async def announce() -> int:
            async with await connect(self.database.conninfo(INGEST)) as connection:
                requests = [ProvisioningRequest(self.tenant, device) for device in active]
                return len(
                    registered((await provision_once(connection, requests, now=NOW, settled=NOW, grace=GRACE)).values())
                )

        assert trio.run(announce) == len(active)
        assert self._registry() == before
        check_seats(self.database, self.tenant)

    def _registry(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.conninfo()) as connection:
            query = "SELECT device_id, status FROM device_registry WHERE tenant_id = %s ORDER BY device_id"
            return connection.execute(query, [self.tenant]).fetchall()


def test_seats_balance_whatever_happens_and_in_whatever_company(database: Database) -> None:
    Seats.database = database
    run_state_machine_as_test(
        Seats,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=BOUTS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    assert Seats.examples >= EXAMPLES / 2
