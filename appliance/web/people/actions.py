"""Changes of other people's accounts by admins and operators, for pages and the API alike, one transaction each.

What opens a way into an account - an invitation, a reset, a role like one's own or above it, an account that is enabled
again - asks for the viewer's password and is closed to tokens: a token, or a browser left open, is not enough.

An admin reaches the users of the own tenant, which row-level security enforces; an operator reaches all users, or with
``?tenant=`` those of one tenant.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from appliance.db.require import require
from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.people import tokens, users
from appliance.people.role import CUSTOMER_ROLES, Role
from appliance.people.tokens import Token
from appliance.people.users import PATH, NewUser, User, UserFilter
from appliance.web.access.auth import viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.http.forwarding import own_url
from appliance.web.platform import Platform

Confirm = Callable[[str], Awaitable[User]]
"""Checks the viewer's own password."""
RANK = {role: rank for rank, role in enumerate((Role.VIEWER, Role.RESPONDER, Role.ADMIN, Role.OPERATOR))}
"""The higher, the more a role may do."""


@dataclass(frozen=True, slots=True)
class Invited:
    """A user, and the link with which they choose a password; it is known only now."""

    user: User
    link: str


class PeopleActions:
    """Changes of people by the current viewer. Errors are those of ``appliance.people.users``."""

    def __init__(self, platform: Platform, confirm: Confirm) -> None:
        """``confirm`` checks the viewer's password: Invalid for a wrong one, Throttled, 403 for a token."""
        self._platform = platform
        self._access = platform.access
        self._confirm = confirm

    async def list_page(self, wanted: UserFilter, limit: int) -> list[User]:
        """Return the first ``limit`` users whom the viewer may see, ordered by e-mail address."""
        async with self._access.reading() as connection:
            return await users.list_page(connection, wanted, limit)

    async def get(self, user_id: UUID) -> User:
        """Return one user. Raises NotFound."""
        async with self._access.reading() as connection:
            return _within(await users.get(connection, user_id))

    async def add(self, email: str, role: Role, name: str, tenant_id: str | None, *, password: str) -> Invited:
        """Add a user and return the invitation link. Raises Invalid, NotFound, Conflict, Throttled.

        ``tenant_id``: what an operator chose in the form; None is the tenant of the request.
        """
        if role is Role.OPERATOR and not viewer().is_operator:
            raise Invalid(f"This must be one of {', '.join(CUSTOMER_ROLES)}.", "role")
        if tenant_id is not None and not (viewer().is_operator and valid_id(tenant_id)):
            raise Invalid("Choose the organisation.", "tenant")
        tenant_id = None if role is Role.OPERATOR else tenant_id or tenant_of()
        await self._confirm(password)
        async with self._access.changing() as connection:
            user = await users.add(connection, NewUser(email, role, tenant_id, name), self._access.context())
            secret = await users.invite(connection, user.user_id, self._access.context())
        return Invited(user, self._link(secret))

    async def set_role(self, user_id: UUID, role: Role, was: Role | None = None, *, password: str) -> User:
        """Give a user another role. Raises NotFound, Invalid, Conflict, Throttled.

        ``password`` is asked for where the role is like the viewer's own, or above it.
        """
        await self.get(user_id)
        if RANK[role] >= RANK[viewer().role]:
            await self._confirm(password)
        async with self._access.changing() as connection:
            return await users.set_role(connection, user_id, role, self._access.context(), was)

    async def disable(self, user_id: UUID) -> User:
        """Disable a user at once. Raises NotFound, Conflict."""
        await self.get(user_id)
        async with self._access.changing() as connection:
            return await users.disable(connection, user_id, self._access.context())

    async def enable(self, user_id: UUID, *, password: str) -> User:
        """Enable a disabled user. Raises NotFound, Invalid, Throttled."""
        await self.get(user_id)
        await self._confirm(password)
        async with self._access.changing() as connection:
            return await users.enable(connection, user_id, self._access.context())

    async def reset(self, user_id: UUID, *, drop_second_factor: bool, password: str) -> Invited:
        """End a user's sessions and tokens, and return a link for a new password; invite one without a password anew.

        Raises NotFound, Conflict, Invalid, Throttled.
        """
        user = await self.get(user_id)
        await self._confirm(password)
        async with self._access.changing() as connection:
            if user.has_password:
                context = self._access.context()
                secret = await users.reset(connection, user_id, context, drop_second_factor=drop_second_factor)
            else:
                secret = await users.invite(connection, user_id, self._access.context())
            user = await users.get(connection, user_id)
        return Invited(user, self._link(secret))

    async def tokens(self, user_id: UUID) -> list[Token]:
        """Return the API tokens of a user. Raises NotFound."""
        await self.get(user_id)
        async with self._access.reading() as connection:
            return await tokens.list_of(connection, user_id)

    async def revoke_token(self, user_id: UUID, token_id: UUID) -> None:
        """Revoke a token at once. Raises NotFound."""
        await self.get(user_id)
        async with self._access.changing() as connection:
            await tokens.revoke(connection, user_id, token_id, self._access.context())

    def _link(self, secret: str) -> str:
        """Return the absolute address of a link, with the host by which the viewer's browser reaches this appliance."""
        return own_url(self._platform.public_url) + PATH + secret


def _within(user: User) -> User:
    """Return the user if no tenant is chosen or it is the user's. Raises NotFound."""
    shown = tenants_shown()
    return require(user if shown is None or user.tenant_id == shown else None, "such user")
