"""What people do to their own account, from a page or through the API alike.

Their own row is theirs whatever tenant they are of, and what proves who they are is not for ``appliance_web``: so this
goes over connections that see all, for the viewer's own id and nothing else. Whoever changes what opens the door
- a password, a second factor, a token - types the password first, so that a browser left open is not enough.
"""

from collections.abc import Collection
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
from appliance.web.page import formats
from appliance.web.platform import Platform

NOT_BY_TOKEN = "A token cannot change what opens the door; sign in for that."  # noqa: S105 - words for a person


class AccountActions:
    """The current viewer's own account."""

    def __init__(self, platform: Platform, sign_in: SignIn) -> None:
        self._platform = platform
        self._pool = platform.pool
        self._sign_in = sign_in

    async def user(self) -> User:
        """The account as it is now."""
        async with self._pool.connection() as connection:
            return await users.get(connection, viewer().user_id)

    async def set_profile(self, profile: Profile) -> User:
        """Name, time zone and theme. Raises Invalid, which names the field."""
        async with self._pool.connection() as connection:
            return await users.set_profile(connection, viewer().user_id, profile, self._platform.access.by())

    async def set_password(self, current: str, new: str) -> None:
        """A new password; all sessions but this one end. Raises Invalid, Throttled."""
        session_id = own_session()
        user = await self.confirm(current)
        await self._sign_in.set_password(user, new, self._platform.access.by(), but=session_id)

    async def sessions(self) -> list[Session]:
        """Where the viewer is signed in, the last seen first."""
        async with self._pool.connection() as connection:
            return await sessions.list_of(connection, viewer().user_id, self._platform.access.now())

    async def end_session(self, session_id: UUID) -> None:
        """Sign out elsewhere. Raises NotFound."""
        user = await self.user()
        async with self._pool.connection() as connection:
            await sessions.end(connection, user, session_id, self._platform.access.by())

    async def end_other_sessions(self) -> int:
        """Sign out everywhere else; how many there were."""
        session_id, user = own_session(), await self.user()
        async with self._pool.connection() as connection:
            return await sessions.end_others(connection, user, session_id, self._platform.access.by())

    async def tokens(self) -> list[Token]:
        """The viewer's API tokens, outdated ones included."""
        async with self._pool.connection() as connection:
            return await tokens.list_of(connection, viewer().user_id)

    async def add_token(self, current: str, name: str, scopes: Collection[Scope], days: int) -> str:
        """A new token; its secret, this one time. Raises Invalid, Conflict, Throttled."""
        own_session()
        user = await self.confirm(current)
        async with self._pool.connection() as connection:
            return await tokens.add(connection, user, name, scopes, days, self._platform.access.by())

    async def revoke_token(self, token_id: UUID) -> None:
        """End a token of the viewer's. Raises NotFound."""
        async with self._pool.connection() as connection:
            await tokens.revoke(connection, viewer().user_id, token_id, self._platform.access.by())

    async def set_second_factor(self, current: str, secret: bytes, code: str) -> None:
        """Ask for codes from now on. Raises Invalid, Throttled."""
        own_session()
        user = await self.confirm(current)
        await self._sign_in.set_second_factor(user, secret, code, self._platform.access.by())

    async def drop_second_factor(self, current: str) -> None:
        """Ask for no code any more. Raises Invalid, Conflict, Throttled."""
        own_session()
        user = await self.confirm(current)
        await self._sign_in.drop_second_factor(user, self._platform.access.by())

    async def confirm(self, current: str) -> User:
        """That it is still the viewer who sits there. Raises Invalid for a wrong password; Throttled."""
        user = await self.user()
        right = await self._sign_in.confirm(user, current, visit())
        if isinstance(right, ThrottleWait):
            raise Throttled(until(right, self._platform.clock.wall()), right.seconds)
        if not right:
            raise Invalid("This is not your password.", "current")
        return user


def own_session() -> UUID:
    """The session of the current request; a token's request is refused with 403."""
    session_id = viewer().session_id
    if session_id is None:
        abort(HTTPStatus.FORBIDDEN, NOT_BY_TOKEN)
    return session_id


def until(wait: ThrottleWait, now: float) -> str:
    """A wait in words, with the time when it is over."""
    return f"Too many wrong tries. Try again at {formats.clock_time(now + wait.seconds + 1, None)}."
