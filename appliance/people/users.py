"""Users: invite, list, change, disable. Their credentials are in ``signin``, ``passwords`` and ``tokens``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import errors

from appliance import zones
from appliance.db import statements
from appliance.db.audit import ActorKind, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Invalid
from appliance.people import links
from appliance.people.links import Purpose
from appliance.people.role import Role, Theme
from appliance.plain_text import is_plain

STATEMENTS = statements.load("people")
OWN_TENANT_REFUSED = "users_of_customer"
"""The constraint by which the appliance's own tenant has no users."""

MAX_EMAIL = 254
MAX_NAME = 128
PASSWORD_LINK = timedelta(hours=24)
"""How long the links of invitations and resets are valid."""
PATH = "/link/"
"""Path of the page that sets a password; the secret of the link follows."""

EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*")
"""An address as an e-mail field accepts it (HTML, "valid e-mail address"), in lower case; safe in a header."""


class UserState(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    INVITED = "invited"
    """Has no password yet."""
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class User:
    """A user, without credentials."""

    user_id: UUID
    tenant_id: str | None
    email: str
    name: str
    role: Role
    has_password: bool
    """False: invited, and has not signed in yet."""
    has_second_factor: bool
    time_zone: str | None
    theme: Theme
    shortcuts: bool
    """Whether keyboard shortcuts are on."""
    created_at: datetime
    last_sign_in_at: datetime | None
    disabled_at: datetime | None

    @property
    def state(self) -> UserState:
        """Return whether the user may sign in; the statement ``list_users`` computes the same."""
        if self.disabled_at is not None:
            return UserState.DISABLED
        return UserState.ACTIVE if self.has_password else UserState.INVITED

    @property
    def shown_name(self) -> str:
        """Return the name, or the e-mail address of a user without one."""
        return self.name or self.email


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to invite; an operator has no tenant, every other user has one."""

    email: str
    role: Role
    tenant_id: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users a list shows; None matches any."""

    tenant_id: str | None = None
    role: Role | None = None
    state: UserState | None = None
    search: str | None = None
    """A part of the e-mail address or the name."""
    after: tuple[str, UUID] | None = None
    """E-mail address and id of the last user on the previous page."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings that users change themselves."""

    name: str
    time_zone: str | None
    theme: Theme
    shortcuts: bool = True


def profile_of(user: User) -> Profile:
    """Return the settings of a user that they change themselves."""
    return Profile(user.name, user.time_zone, user.theme, user.shortcuts)


def user_of(row: tuple[Any, ...]) -> User:
    """Return the user of a row whose first columns are those of every user statement in ``people.sql``."""
    user_id, tenant_id, email, name, role, password, factor, zone, theme, keys, created, last, disabled = row[:13]
    return User(
        user_id, tenant_id, email, name, Role(role), password, factor, zone, Theme(theme), keys, created, last, disabled
    )


def email_of(text: str) -> str:
    """Return the normalised e-mail address. Raises Invalid."""
    email = text.strip().lower()
    if len(email) > MAX_EMAIL or not EMAIL.fullmatch(email):
        raise Invalid("Enter one e-mail address, for example ingrid@norrvik.example.", "email")
    return email


def name_of(text: str) -> str:
    """Return the normalised name. Raises Invalid."""
    name = text.strip()
    if len(name) > MAX_NAME or not is_plain(name):
        raise Invalid(f"A name has at most {MAX_NAME} characters on one line, all of which can be seen.", "name")
    return name


def zone_of(text: str, kept: str | None = None) -> str | None:
    """Return the time zone as it is stored; None for an empty text, which is the tenant's. Raises Invalid.

    ``kept``, what is stored already, may stay although the machine has lost it.
    """
    if not text.strip():
        return None
    fault = zones.refusal(text, kept)
    if fault is not None:
        raise Invalid(fault, "time_zone")
    return zones.stored(text)


async def any_exists(connection: Connection[Any]) -> bool:
    """Return whether there is any user."""
    cursor = await connection.execute(STATEMENTS["any_user"])
    return bool(require(await cursor.fetchone(), "answer")[0])


async def add(connection: Connection[Any], new: NewUser, context: ChangeContext) -> User:
    """Add a user without a password. Raises Invalid; NotFound for the tenant; Conflict if the address is a user."""
    email, name = email_of(new.email), name_of(new.name)
    if (new.role is Role.OPERATOR) is not (new.tenant_id is None):
        raise Invalid("An operator belongs to no tenant; every other user belongs to one.")
    try:
        async with connection.transaction():
            parameters = {
                "tenant": new.tenant_id,
                "email": email,
                "name": name,
                "role": new.role.value,
                "now": context.now,
            }
            cursor = await connection.execute(STATEMENTS["insert_user"], parameters)
            row = await cursor.fetchone()
            if row is None:
                raise Conflict(f"{email} is a user already.")
            user = user_of(row)
            added = entry(context, "add", user, None, {"email": email, "role": new.role})
            await record(connection, added, now=context.now)
    except (errors.ForeignKeyViolation, errors.InsufficientPrivilege):
        require(None, f"tenant {new.tenant_id}")
        raise
    except errors.CheckViolation as error:
        if error.diag.constraint_name == OWN_TENANT_REFUSED:
            require(None, f"tenant {new.tenant_id}")
        raise
    return user


async def get(connection: Connection[Any], user_id: UUID) -> User:
    """Return one user. Raises NotFound."""
    return await _select(connection, "select_user", user_id)


async def by_email(connection: Connection[Any], email: str, tenant_id: str | None = None) -> User:
    """Return the user with this address. Raises NotFound; Conflict if several tenants have one and none is given."""
    parameters = {"email": email.strip().lower(), "tenant": tenant_id}
    cursor = await connection.execute(STATEMENTS["select_by_email"], parameters)
    rows = await cursor.fetchall()
    if len(rows) > 1:
        names = ", ".join(row[1] or "(operator)" for row in rows)
        raise Conflict(f"{email} is a user of several tenants ({names}); name one with --tenant.")
    return user_of(require(rows[0] if rows else None, f"user {email}"))


async def list_page(connection: Connection[Any], wanted: UserFilter, limit: int) -> list[User]:
    """Return at most ``limit`` users, ordered by e-mail address."""
    parameters = {
        "tenant": wanted.tenant_id,
        "role": None if wanted.role is None else wanted.role.value,
        "state": None if wanted.state is None else wanted.state.value,
        "search": wanted.search or None,
        "after_email": None if wanted.after is None else wanted.after[0],
        "after_user": None if wanted.after is None else wanted.after[1],
        "limit": limit,
    }
    cursor = await connection.execute(STATEMENTS["list_users"], parameters)
    return [user_of(row) for row in await cursor.fetchall()]


async def set_role(
    connection: Connection[Any], user_id: UUID, role: Role, context: ChangeContext, was: Role | None = None
) -> User:
    """Give a user of a tenant another role there.

    Raises NotFound; Invalid for an operator or a role outside a tenant; Conflict if the role is no longer ``was``, and
    for the user's own role.
    """
    async with connection.transaction():
        user = await _select(connection, "lock_user", user_id)
        if (role is Role.OPERATOR) is not (user.role is Role.OPERATOR):
            raise Invalid("An operator belongs to no tenant: invite the user again in the other role.")
        if was is not None and user.role is not was:
            raise Conflict(f"The role of {user.email} was changed by someone else; it is {user.role} now.")
        if user.role is role:
            return user
        _not_oneself(user, context, "change your own role")
        await connection.execute(STATEMENTS["set_role"], {"user": user_id, "role": role.value})
        await record(connection, entry(context, "set_role", user, {"role": user.role}, {"role": role}), now=context.now)
        return await get(connection, user_id)


async def disable(connection: Connection[Any], user_id: UUID, context: ChangeContext) -> User:
    """Disable a user: sessions and links end, tokens stop working. Raises NotFound; Conflict for the own account.

    The last operator can be disabled only from the command line, where another one can be added.
    """
    async with connection.transaction():
        user = await _select(connection, "lock_user", user_id)
        _not_oneself(user, context, "disable yourself")
        if user.disabled_at is not None:
            return user
        if user.role is Role.OPERATOR and context.actor.kind is not ActorKind.COMMAND:
            cursor = await connection.execute(STATEMENTS["lock_operators"])
            if len(await cursor.fetchall()) < 2:
                raise Conflict(f"{user.email} is the last operator; invite another one first.")
        await connection.execute(STATEMENTS["set_disabled"], {"user": user_id, "at": context.now})
        await end_access(connection, user_id)
        await record(connection, entry(context, "disable", user), now=context.now)
        return await get(connection, user_id)


async def enable(connection: Connection[Any], user_id: UUID, context: ChangeContext) -> User:
    """Enable a disabled user. Raises NotFound."""
    async with connection.transaction():
        user = await _select(connection, "lock_user", user_id)
        if user.disabled_at is None:
            return user
        await connection.execute(STATEMENTS["set_disabled"], {"user": user_id, "at": None})
        await record(connection, entry(context, "enable", user), now=context.now)
        return await get(connection, user_id)


async def invite(connection: Connection[Any], user_id: UUID, context: ChangeContext) -> str:
    """Return the secret of a link that sets a password; earlier links stop working. Raises NotFound, Conflict."""
    async with connection.transaction():
        user = await _select(connection, "lock_user", user_id)
        return await _password_link(connection, user, context, "invite")


async def reset(
    connection: Connection[Any], user_id: UUID, context: ChangeContext, *, drop_second_factor: bool = False
) -> str:
    """End a user's sessions and tokens; return the secret of a link that sets a password. The old one works until then.

    ``drop_second_factor``: for a user who has lost it. Raises NotFound; Conflict for a disabled user.
    """
    async with connection.transaction():
        user = await _select(connection, "lock_user", user_id)
        secret = await _password_link(connection, user, context, "reset")
        if drop_second_factor and user.has_second_factor:
            await connection.execute(STATEMENTS["drop_second_factor"], {"user": user_id})
            await record(connection, entry(context, "drop_second_factor", user), now=context.now)
        await connection.execute(STATEMENTS["end_sessions"], {"user": user_id, "but": None})
        await connection.execute(STATEMENTS["end_tokens"], {"user": user_id})
    return secret


async def set_profile(connection: Connection[Any], user_id: UUID, profile: Profile, context: ChangeContext) -> User:
    """Change the settings of a user. Raises Invalid, NotFound."""
    return await edit_profile(connection, user_id, lambda _: profile, context)


async def edit_profile(
    connection: Connection[Any], user_id: UUID, edited: Callable[[Profile], Profile], context: ChangeContext
) -> User:
    """Change the settings of a user to what ``edited`` makes of them. Raises Invalid, NotFound, and what it raises."""
    async with connection.transaction():
        user = await _select(connection, "lock_user", user_id)
        profile = edited(profile_of(user))
        name, zone = name_of(profile.name), zone_of(profile.time_zone or "", user.time_zone)
        before = {"name": user.name, "time_zone": user.time_zone, "theme": user.theme, "shortcuts": user.shortcuts}
        after = {"name": name, "time_zone": zone, "theme": profile.theme, "shortcuts": profile.shortcuts}
        changed = [key for key in before if before[key] != after[key]]
        if not changed:
            return user
        parameters = {"user": user_id, "zone": zone, **after, "theme": profile.theme.value}
        cursor = await connection.execute(STATEMENTS["set_profile"], parameters)
        require_rows(cursor.rowcount, f"user {user_id}")
        await record(
            connection,
            entry(
                context,
                "set_profile",
                user,
                {key: before[key] for key in changed},
                {key: after[key] for key in changed},
            ),
            now=context.now,
        )
        return await get(connection, user_id)


async def store_password(
    connection: Connection[Any], user: User, password_hash: str, now: datetime, but: UUID | None = None
) -> None:
    """Store the hash of a new password; end every session except ``but`` and all links, and forget known browsers.

    The caller writes the audit row, because the caller knows on what grounds the password is set.
    """
    await connection.execute(STATEMENTS["set_password"], {"user": user.user_id, "hash": password_hash, "now": now})
    await connection.execute(STATEMENTS["end_sessions"], {"user": user.user_id, "but": but})
    await connection.execute(STATEMENTS["drop_links"], {"user": user.user_id})
    await connection.execute(STATEMENTS["forget_browsers"], {"user": user.user_id})


async def end_access(connection: Connection[Any], user_id: UUID) -> None:
    """End all sessions and links of a user."""
    await connection.execute(STATEMENTS["end_sessions"], {"user": user_id, "but": None})
    await connection.execute(STATEMENTS["drop_links"], {"user": user_id})


def entry(
    context: ChangeContext,
    verb: str,
    user: User,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> Entry:
    """Return the audit row of a change of a user."""
    return Entry(context.actor, f"user.{verb}", "user", str(user.user_id), user.tenant_id, before, after)


async def _password_link(connection: Connection[Any], user: User, context: ChangeContext, verb: str) -> str:
    if user.disabled_at is not None:
        raise Conflict(f"{user.email} is disabled; enable them first.")
    await connection.execute(STATEMENTS["drop_links"], {"user": user.user_id})
    secret = await links.make(
        connection, Purpose.PASSWORD, context.now + PASSWORD_LINK, user_id=user.user_id, tenant_id=user.tenant_id
    )
    await record(connection, entry(context, verb, user, None, {"email": user.email}), now=context.now)
    return secret


def _not_oneself(user: User, context: ChangeContext, what: str) -> None:
    if context.user_id == user.user_id:
        raise Conflict(f"You cannot {what}; another administrator can.")


async def _select(connection: Connection[Any], statement: str, user_id: UUID) -> User:
    cursor = await connection.execute(STATEMENTS[statement], {"user": user_id})
    return user_of(require(await cursor.fetchone(), "such user"))
