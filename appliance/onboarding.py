"""The first start: while nobody is there, a link opens the set-up page once; the set-up makes all of a beginning.

That is an operator, a tenant with a trial, and a first device, in one transaction with the link's use. Nothing is there
before, so there is no default password, and no tenant that nobody asked for.
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
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import SubscriptionType
from appliance.subscriptions.store import NewSubscription

DEVICE = "first"
SEATS = 10
TERM = timedelta(days=30)
MAX_ORGANISATION = 128

PATH = "/set-up/"
"""The set-up page; the link's secret follows."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SetUpForm:
    """What the set-up page asks for."""

    email: str
    password: str = field(repr=False)
    organisation: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class SetUpResult:
    """What a set-up has made; the device's secrets this one time."""

    user_id: UUID
    tenant_id: str
    device: IssuedSecrets


async def open_set_up(connection: Connection[Any], now: datetime) -> str | None:
    """A new set-up link's secret, earlier ones being dead; None when somebody is there already."""
    if await users.any_there(connection):
        return None
    return await links.make_set_up(connection, now)


async def offer(pool: Pool, clock: Clock) -> str | None:
    """At each start without a user: the path of a new set-up page."""
    async with pool.connection() as connection:
        secret = await open_set_up(connection, datetime.fromtimestamp(clock.wall(), UTC))
    return None if secret is None else PATH + secret


async def is_open(connection: Connection[Any], secret: str, now: datetime) -> bool:
    """Whether the link opens the set-up page now."""
    link = await links.peek(connection, secret, Purpose.SET_UP, now)
    return link is not None and not await users.any_there(connection)


async def set_up(
    pool: Pool, sign_in: SignIn, secret: str, beginning: SetUpForm, address: str | None, *, grace: timedelta
) -> tuple[User, SetUpResult] | None:
    """Make the operator, the tenant, its trial and the first device; None when the link does not work (any more).

    Raises Invalid, which names the field; Conflict when there is such a tenant. Then the link is still good.
    """
    tenant_id = tenant_of(beginning.organisation)
    email = users.email_of(beginning.email)
    zone = users.zone_of(beginning.time_zone) or "UTC"
    kept = await sign_in.taken(email, "", beginning.password)
    now = sign_in.now()
    context = ChangeContext(Actor(email, ActorKind.USER, address), now, user_id=None)
    async with credential_change(pool.transaction(), pool.connection) as change:
        connection = change.connection
        link = await links.take(connection, secret, Purpose.SET_UP, now)
        if link is None or await users.any_there(connection):
            change.spare_broker()
            return None
        user = await _make_operator(connection, email, zone, kept, context)
        await _make_tenant(connection, tenant_id, beginning.organisation.strip(), zone, context, grace)
        await changes.create(connection, tenant_id, NewDevice(DEVICE), context, grace=grace)
        issued = await credential.create(connection, tenant_id, DEVICE, context)
    log.info("appliance set up", tenant=tenant_id, seats=SEATS, device=DEVICE)
    return user, SetUpResult(user.user_id, tenant_id, issued)


def tenant_of(organisation: str) -> str:
    """A tenant id that reads like the organisation's name: ``Bergström & Co`` -> ``bergstrom-co``. Raises Invalid."""
    name = organisation.strip()
    if not name or len(name) > MAX_ORGANISATION or not name.isprintable():
        raise Invalid(f"Give the organisation a name of at most {MAX_ORGANISATION} characters.", "organisation")
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("ø", "o").replace("Ø", "O"))
    ascii_only = plain.encode("ascii", "ignore").decode().lower()
    tenant_id = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:64].rstrip("-") or "home"
    return tenant_id if tenants.fault_of(tenant_id) is None else f"{tenant_id[:60]}-org"


async def _make_operator(
    connection: Connection[Any], email: str, zone: str, kept_password: str, context: ChangeContext
) -> User:
    user = await users.add(connection, NewUser(email, Role.OPERATOR), context)
    await users.keep_password(connection, user, kept_password, context.now)
    return await users.set_profile(connection, user.user_id, Profile("", zone, user.theme, user.shortcuts), context)


async def _make_tenant(
    connection: Connection[Any], tenant_id: str, name: str, zone: str, context: ChangeContext, grace: timedelta
) -> None:
    try:
        await tenants.add(connection, tenant_id, context, name=name, provisioning=Strategy.AUTO, time_zone=zone)
    except Conflict:
        raise Conflict(f"There is a tenant {tenant_id} already; give the organisation another name.") from None
    trial = NewSubscription(tenant_id, SubscriptionType.TRIAL, SEATS, TERM)
    await store.add(connection, trial, context, grace=grace)
