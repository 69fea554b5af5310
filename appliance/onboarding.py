"""The first start: while there is no user, a one-time link opens the set-up page.

The set-up creates an operator, a tenant with a trial subscription, and a first device, and uses up the link, all in one
transaction. Nothing exists before it, so there is no default password and no tenant that nobody asked for.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from appliance.clock import Clock
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.credentials import credential
from appliance.devices.credentials.broker_sync import credential_change
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.devices.tenants import Strategy
from appliance.errors import Conflict, Invalid
from appliance.people import links, users
from appliance.people.links import Purpose
from appliance.people.role import Role
from appliance.people.signin import SignIn
from appliance.people.users import NewUser, Profile, User
from appliance.plain_text import is_plain
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import SubscriptionType
from appliance.subscriptions.store import NewSubscription

DEVICE = "first"
SEATS = 10
TERM = timedelta(days=30)
MAX_ORGANISATION = 128

PATH = "/set-up/"
"""Path of the set-up page; the secret of the link follows."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SetUpForm:
    """The fields of the set-up page."""

    email: str
    password: str = field(repr=False)
    organisation: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class SetUpResult:
    """What a set-up has created; the only copy of the device's secrets."""

    user_id: UUID
    tenant_id: str
    device: IssuedSecrets


async def open_set_up(connection: Connection[Any], now: datetime) -> str | None:
    """Create a set-up link and return its secret; earlier ones stop working. None if there is a user already."""
    if await users.any_exists(connection):
        return None
    return await links.make_set_up(connection, now)


async def offer(pool: Pool, clock: Clock) -> str | None:
    """Return the path of a new set-up page, or None if there is a user already. Called at each start."""
    async with pool.connection() as connection:
        secret = await open_set_up(connection, datetime.fromtimestamp(clock.now(), UTC))
    return None if secret is None else PATH + secret


async def is_open(connection: Connection[Any], secret: str, settled: datetime) -> bool:
    """Return whether the link opens the set-up page at ``settled``."""
    link = await links.peek(connection, secret, Purpose.SET_UP, settled)
    return link is not None and not await users.any_exists(connection)


async def set_up(
    pool: Pool, sign_in: SignIn, secret: str, form: SetUpForm, address: str | None, *, grace: timedelta
) -> tuple[User, SetUpResult] | None:
    """Create the operator, the tenant, its trial and the first device; None if the link does not work.

    Raises Invalid, which names the field; Conflict if the tenant exists. The link stays valid after an error.
    """
    tenant_id = tenant_of(form.organisation)
    email = users.email_of(form.email)
    zone = users.zone_of(form.time_zone) or "UTC"
    password_hash = await sign_in.hash_new_password(email, "", form.password)
    now, settled = sign_in.now(), sign_in.settled()
    context = ChangeContext(Actor(email, ActorKind.USER, address), now, settled, user_id=None)
    async with credential_change(pool.transaction(), pool.connection) as change:
        connection = change.connection
        link = await links.take(connection, secret, Purpose.SET_UP, settled)
        if link is None or await users.any_exists(connection):
            change.spare_broker()
            return None
        user = await _make_operator(connection, email, zone, password_hash, context)
        await _make_tenant(connection, tenant_id, form.organisation.strip(), zone, context, grace)
        await changes.create(connection, tenant_id, NewDevice(DEVICE), context, grace=grace)
        issued = await credential.create(connection, tenant_id, DEVICE, context)
    log.info("appliance set up", tenant=tenant_id, seats=SEATS, device=DEVICE)
    return user, SetUpResult(user.user_id, tenant_id, issued)


def tenant_of(organisation: str) -> str:
    """Return a tenant id made from a name: ``Bergström & Co`` -> ``bergstrom-co``. Raises Invalid."""
    name = organisation.strip()
    if not name or len(name) > MAX_ORGANISATION or not is_plain(name):
        raise Invalid(f"Enter a name of the organisation with at most {MAX_ORGANISATION} characters.", "organisation")
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("ø", "o").replace("Ø", "O"))
    ascii_only = plain.encode("ascii", "ignore").decode().lower()
    tenant_id = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:64].rstrip("-") or "home"
    return tenant_id if tenants.fault_of(tenant_id) is None else f"{tenant_id[:60]}-org"


async def _make_operator(
    connection: Connection[Any], email: str, zone: str, password_hash: str, context: ChangeContext
) -> User:
    user = await users.add(connection, NewUser(email, Role.OPERATOR), context)
    await users.store_password(connection, user, password_hash, context.now)
    return await users.set_profile(connection, user.user_id, Profile("", zone, user.theme, user.shortcuts), context)


async def _make_tenant(
    connection: Connection[Any], tenant_id: str, name: str, zone: str, context: ChangeContext, grace: timedelta
) -> None:
    try:
        await tenants.add(connection, tenant_id, context, name=name, provisioning=Strategy.AUTO, time_zone=zone)
    except Conflict:
        raise Conflict(f"Tenant {tenant_id} already exists; choose another name for the organisation.") from None
    trial = NewSubscription(tenant_id, SubscriptionType.TRIAL, SEATS, TERM)
    await store.add(connection, trial, context, grace=grace)
