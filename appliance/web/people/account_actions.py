"""Changes of the viewer's own account, for the profile page and the API alike.

Users read and change their own row whatever their tenant, and the role ``appliance_web`` cannot read passwords and
second factors: so this uses connections that see all rows, for the viewer's own id only. A change of a password, a
second factor or a token asks for the current password first, so that a browser left open is not enough.
"""

from collections.abc import Callable, Collection
from http import HTTPStatus
from uuid import UUID

from quart import abort

from appliance.errors import Invalid, Throttled
from appliance.people import sessions, tokens, users
from appliance.people.role import Scope
from appliance.people.sessions import Session
from appliance.people.signin import SignIn
from appliance.people.throttle import ThrottleWait
from appliance.people.tokens import Token
from appliance.people.users import Profile, User
from appliance.web.access.auth import viewer
from appliance.web.access.gate import visit
from appliance.web.access.request_transaction import note_password_asked
from appliance.web.people.labels import wait_label
from appliance.web.platform import Platform

NOT_BY_TOKEN = "A token cannot change who may sign in, or with what; sign in to do that."  # noqa: S105 - a message, not a secret


class AccountActions:
    """The current viewer's own account."""

    def __init__(self, platform: Platform, sign_in: SignIn) -> None:
        self._platform = platform
        self._pool = platform.pool
        self._sign_in = sign_in

    async def user(self) -> User:
        """Return the current account."""
        async with self._pool.connection() as connection:
            return await users.get(connection, viewer().user_id)

    async def set_profile(self, profile: Profile) -> User:
        """Set name, time zone, theme and shortcuts. Raises Invalid, which names the field."""
        async with self._pool.connection() as connection:
            return await users.set_profile(connection, viewer().user_id, profile, self._platform.access.context())

    async def edit_profile(self, edited: Callable[[Profile], Profile]) -> User:
        """Set them to what ``edited`` makes of them. Raises Invalid, which names the field, and what it raises."""
        async with self._pool.connection() as connection:
            return await users.edit_profile(connection, viewer().user_id, edited, self._platform.access.context())

    async def set_password(self, current: str, new: str) -> None:
        """Set a new password and end all other sessions. Raises Invalid, Throttled."""
        session_id = own_session()
        user = await self.confirm(current)
        await self._sign_in.set_password(user, new, self._platform.access.context(), but=session_id)

    async def sessions(self) -> list[Session]:
        """Return the sessions of the viewer, most recently used first."""
        async with self._pool.connection() as connection:
            return await sessions.list_of(connection, viewer().user_id, self._platform.access.settled())

    async def end_session(self, session_id: UUID) -> None:
        """End one session of the viewer. Raises NotFound."""
        user = await self.user()
        async with self._pool.connection() as connection:
            await sessions.end(connection, user, session_id, self._platform.access.context())

    async def end_other_sessions(self) -> int:
        """End all other sessions of the viewer and return their number."""
        session_id, user = own_session(), await self.user()
        async with self._pool.connection() as connection:
            return await sessions.end_others(connection, user, session_id, self._platform.access.context())

    async def tokens(self) -> list[Token]:
        """Return the viewer's API tokens, expired ones included."""
        async with self._pool.connection() as connection:
            return await tokens.list_of(connection, viewer().user_id)

    async def add_token(self, current: str, name: str, scopes: Collection[Scope], days: int) -> str:
        """Create a token and return its secret, which is known only now. Raises Invalid, Conflict, Throttled."""
        user = await self.confirm_in_browser(current)
        async with self._platform.access.changing_account() as connection:
            return await tokens.add(connection, user, name, scopes, days, self._platform.access.context())

    async def revoke_token(self, token_id: UUID) -> None:
        """Revoke a token of the viewer. Raises NotFound."""
        async with self._pool.connection() as connection:
            await tokens.revoke(connection, viewer().user_id, token_id, self._platform.access.context())

    async def revoke_tokens(self) -> int:
        """Revoke all tokens of the viewer and return their number."""
        async with self._pool.connection() as connection:
            return await tokens.revoke_all(connection, viewer().user_id, self._platform.access.context())

    async def set_second_factor(self, current: str, secret: bytes, code: str) -> None:
        """Turn the second factor on. Raises Invalid, Throttled."""
        user = await self.confirm_in_browser(current)
        await self._sign_in.set_second_factor(user, secret, code, self._platform.access.context())

    async def drop_second_factor(self, current: str) -> None:
        """Turn the second factor off. Raises Invalid, Conflict, Throttled."""
        user = await self.confirm_in_browser(current)
        await self._sign_in.drop_second_factor(user, self._platform.access.context())

    async def confirm_in_browser(self, current: str) -> User:
        """Check as :meth:`confirm` does; a request with a token is refused with 403."""
        own_session()
        return await self.confirm(current)

    async def confirm(self, current: str) -> User:
        """Check the viewer's password and return their account. Raises Invalid for a wrong password; Throttled."""
        user = await self.user()
        right = await self._sign_in.confirm(user, current, visit())
        if isinstance(right, ThrottleWait):
            raise Throttled(wait_label(right, self._platform.clock.now()), right.seconds)
        if not right:
            raise Invalid("This is not your password.", "current")
        note_password_asked()
        return user


def own_session() -> UUID:
    """Return the session of the current request; a request with a token is refused with 403."""
    session_id = viewer().session_id
    if session_id is None:
        abort(HTTPStatus.FORBIDDEN, NOT_BY_TOKEN)
    return session_id
