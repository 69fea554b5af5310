"""The demo tenants of ``appliance simulate --show``: created, and brought into the states that scenes need.

Setting up can be repeated: what is in the wanted state is left alone; claim passwords and the credential of the one
device that has its own are issued anew each time, since nobody keeps them. The tenants stay, to be viewed.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from appliance.cli.administration import Administration
from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.roles import OWNER
from appliance.db.trio_psycopg import connect
from appliance.devices import tenants
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import IssuedSecrets, Rotation
from appliance.devices.device import DeviceStatus, NewDevice
from appliance.devices.seats import changes
from appliance.devices.tenants import Strategy
from appliance.errors import ApplianceError
from appliance.simulate import scenes
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import LAPSE, SubscriptionType
from appliance.subscriptions.store import Changes, NewSubscription

STATEMENTS = statements.load("simulate")

SEATS = {scenes.SHOW: 20, scenes.FULL: 1, scenes.HELD: 1, scenes.EXPIRED: 1}
"""Of the MAIN subscription; the other tenants need none."""
STRATEGIES = {scenes.APPROVE: Strategy.APPROVE, scenes.OFF: Strategy.OFF}
TERM = timedelta(days=3650)
NEXT_TO_NOTHING = 0.001
"""Messages a second."""
HOLD = "shown by the simulator"


@dataclass(frozen=True, slots=True)
class Logins:
    """The credentials of the demo tenants: broker users with their passwords, and the token of the one device."""

    passwords: Mapping[str, str] = field(repr=False)
    token: str = field(repr=False)


async def set_up(administration: Administration) -> Logins:
    """Create the demo tenants. Raises ApplianceError when a tenant of that name is not the simulator's."""
    known = {tenant.tenant_id: tenant.name for tenant in await tenants.list_all(administration.connection)}
    for tenant_id, name in scenes.DEMO_TENANTS.items():
        if tenant_id not in known:
            await tenants.add(
                administration.connection,
                tenant_id,
                administration.context,
                name=name,
                provisioning=Strategy.AUTO,
                time_zone="UTC",
            )
        elif known[tenant_id] != name:
            raise ApplianceError(f"the tenant {tenant_id} exists and is not the simulator's, which needs that name")
        await _tenant(administration, tenant_id)
    async with administration.changing():
        return await _logins(administration)


async def _tenant(administration: Administration, tenant_id: str) -> None:
    """Create one tenant with its subscription and its devices."""
    connection, context = administration.connection, administration.context
    strategy = STRATEGIES.get(tenant_id, Strategy.AUTO)
    await tenants.set_provisioning(connection, tenant_id, strategy, context)
    await tenants.set_claim(connection, tenant_id, context, enabled=True)
    if tenant_id == scenes.SUSPENDED:
        await tenants.suspend(connection, tenant_id, context)
    if tenant_id not in SEATS:
        return
    if tenant_id == scenes.EXPIRED:  # sold and occupied so long ago that all of it has passed
        then = context.now - TERM - administration.grace - LAPSE - timedelta(days=1)
        context = replace(context, now=then, settled=then)
    owned = await store.list_all(connection, tenant_id)
    if not owned:
        sold = NewSubscription(tenant_id, SubscriptionType.MAIN, SEATS[tenant_id], TERM)
        owned = [await store.add(connection, sold, context, grace=administration.grace)]
    if tenant_id == scenes.SHOW:
        await _devices(administration, context)
        return
    await _device(administration, NewDevice(scenes.SEATED), tenant_id, DeviceStatus.ACTIVE, context)
    if tenant_id == scenes.HELD and owned[0].hold_reason is None:
        held = Changes(hold_reason=HOLD)
        await store.change(connection, tenant_id, owned[0].subscription_id, held, context, grace=administration.grace)


async def _devices(administration: Administration, context: ChangeContext) -> None:
    """Create the devices of SHOW, one in each state."""
    connection, tenant_id = administration.connection, scenes.SHOW
    for device_id, status in (
        (scenes.OWN, DeviceStatus.ACTIVE),
        (scenes.PLAIN, DeviceStatus.ACTIVE),
        (scenes.HASTY, DeviceStatus.ACTIVE),
        (scenes.INACTIVE, DeviceStatus.INACTIVE),
        (scenes.REVOKED, DeviceStatus.REVOKED),
        (scenes.DELETED, DeviceStatus.DECOMMISSIONED),
    ):
        site = scenes.SITE if device_id == scenes.OWN else None
        await _device(administration, NewDevice(device_id, site_id=site), tenant_id, status, context)
    limits = {"tenant": tenant_id, "device": scenes.HASTY, "rate": NEXT_TO_NOTHING}
    async with connection.transaction():
        if (await connection.execute(STATEMENTS["limit_device"], limits)).rowcount:
            after = {"rate": NEXT_TO_NOTHING, "burst": 1}
            entry = Entry(context.actor, "device.limit", "device", scenes.HASTY, tenant_id, None, after)
            await record(connection, entry, now=context.now)


async def _device(
    administration: Administration, new: NewDevice, tenant_id: str, wanted: DeviceStatus, context: ChangeContext
) -> None:
    """Create one device in the given status."""
    connection, device_id = administration.connection, new.device_id
    found = (await changes.select_devices(connection, tenant_id, [device_id])).get(device_id)
    status = None if found is None else found.status
    if status is wanted:
        return
    if status in (None, DeviceStatus.DECOMMISSIONED):
        await changes.create(connection, tenant_id, new, context, grace=administration.grace)
    elif status is not DeviceStatus.ACTIVE:
        await changes.reactivate(connection, tenant_id, device_id, context, grace=administration.grace)
    if wanted is DeviceStatus.INACTIVE:
        await changes.deactivate(connection, tenant_id, device_id, context)
    elif wanted is DeviceStatus.REVOKED:
        await changes.revoke(connection, tenant_id, device_id, context)
    elif wanted is DeviceStatus.DECOMMISSIONED:
        await changes.delete(connection, tenant_id, device_id, context, keep_history=True)


async def _logins(administration: Administration) -> Logins:
    connection, context = administration.connection, administration.context
    passwords = {}
    for tenant_id in scenes.DEMO_TENANTS:
        claim = await tenants.rotate_claim(connection, tenant_id, context)
        passwords[claim.claim_username] = claim.claim_password
    issued: IssuedSecrets = await credentials.rotate(connection, scenes.SHOW, scenes.OWN, context, Rotation(now=True))
    return Logins({**passwords, issued.username: issued.password}, issued.token)


@asynccontextmanager
async def refusing_rows(administration: Administration) -> AsyncIterator[None]:
    """A block in which Postgres refuses rows with the simulator's metric, by a constraint on telemetry.

    Raises psycopg.Error when the table cannot be locked within 3 s. A constraint that a killed simulator left behind
    refuses nobody else's rows, and goes here.
    """
    async with await connect(administration.endpoint.conninfo(OWNER)) as owner:
        async with owner.transaction():
            for statement in ("impatiently", "take_rows", "refuse_rows"):
                await owner.execute(STATEMENTS[statement])
        try:
            yield
        finally:
            async with owner.transaction():
                for statement in ("impatiently", "take_rows"):
                    await owner.execute(STATEMENTS[statement])
