"""The sign-in: checks an e-mail address, a password and, with a second factor, a code, and begins a session.

At most two attempts are checked at the same time and the others wait, so that neither hashing nor guessing takes more
of the machine. An attempt costs the same whether or not the account exists: as many hashes as one address has accounts
at most, and one audit row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.pool import Pool
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Invalid
from appliance.keyring import Keyring
from appliance.people import links, passwords, secret_token, sessions, totp, users
from appliance.people.links import Link, Purpose
from appliance.people.passwords import Hasher
from appliance.people.sessions import Visit
from appliance.people.throttle import AttemptSource, Counted, PasswordsBeside, Throttle, ThrottleWait
from appliance.people.trial import Account, Trial
from appliance.people.users import User, user_of

STATEMENTS = statements.load("people")

CONCURRENT_ATTEMPTS = 2
"""Attempts that are checked at the same time."""
SECOND_STEP = timedelta(minutes=5)
"""Time after the password within which the code must follow."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The fields of the sign-in form, and where they come from. ``browser`` is the secret of a known browser."""

    email: str
    password: str = field(repr=False)
    visit: Visit
    browser: str | None = field(default=None, repr=False)
    keep: bool = False
    tenant_id: str | None = None
    """The account, when address and password match several; empty is the operator's, None leaves it open."""
    session: str | None = field(default=None, repr=False)
    """The secret of the session that the browser has now: it ends, since its cookie is replaced."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The sign-in has succeeded; the secrets go into cookies."""

    user: User
    session: str = field(repr=False)
    kept: bool
    browser: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CodeRequired:
    """The password is right; ``link`` opens the second step."""

    link: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SeveralAccounts:
    """The address and the password match accounts of several tenants."""

    tenants: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """The sign-in has failed; the caller does not learn why."""


SignInOutcome = SignedIn | CodeRequired | SeveralAccounts | SignInRefused | ThrottleWait


class SignIn:
    """Checks sign-ins. The role of its pool must see all users, because the tenant is not known yet."""

    def __init__(
        self, pool: Pool, clock: Clock, keyring: Keyring, hasher: Hasher, throttle: Throttle | None = None
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._keyring = keyring
        self._limiter = trio.CapacityLimiter(CONCURRENT_ATTEMPTS)
        self.hasher = hasher
        self.throttle = throttle or Throttle()
        self._beside = PasswordsBeside()

    def now(self) -> datetime:
        """Return the current time for rows of the database."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def settled(self) -> datetime:
        """Return the time by which links and sessions are valid."""
        return datetime.fromtimestamp(self._clock.settled(), UTC)

    async def with_password(self, attempt: Attempt) -> SignInOutcome:
        """Check the first step, the password."""
        async with self._limiter:
            typed = attempt.email.strip().lower()[: users.MAX_EMAIL]
            email = typed if users.EMAIL.fullmatch(typed) else ""  # not an address: handled like an unknown user
            async with self._pool.connection() as connection:
                accounts = await _accounts(connection, email)
                most = await _most_accounts(connection)
                trial = await self._begin(connection, email, accounts, attempt.visit, attempt.browser)
                if isinstance(trial, ThrottleWait):
                    return trial
            matching = await self._matching(trial.accounts, max(most, len(accounts)), attempt.password)
            guess_elsewhere = trial.spare_others(self.throttle, self._beside, matching)
            async with self._pool.connection() as connection:
                if not matching:
                    await self._note_failure(connection, [user for user, _ in trial.accounts], attempt.visit)
                    return SignInRefused()
                chosen = [pair for pair in matching if attempt.tenant_id in (None, pair[0].tenant_id or "")]
                if len(chosen) != 1:
                    return SeveralAccounts(
                        sorted([user.tenant_id for user, _ in matching], key=lambda tenant: tenant or "")
                    )
                user, password_hash = chosen[0]
                if self.hasher.is_outdated(password_hash):
                    await self._rehash(connection, user, password_hash, attempt.password)
                if user.has_second_factor:
                    return await self._ask_for_code(connection, user, keep=attempt.keep)
                self.throttle.succeed(trial.source_of(user), guess_elsewhere=guess_elsewhere)
                return await self._welcome(
                    connection, user, attempt.visit, attempt.browser, attempt.session, keep=attempt.keep
                )

    async def with_code(
        self, secret: str, code: str, visit: Visit, browser: str | None, session: str | None = None
    ) -> SignInOutcome:
        """Check the second step, the code; ``secret`` is that of :class:`CodeRequired` and expires.

        ``browser`` and ``session`` are those of :class:`Attempt`.
        """
        async with self._limiter, self._pool.connection() as connection:
            settled = self.settled()
            link = await links.peek(connection, secret, Purpose.SECOND_FACTOR, settled)
            if link is None or link.user_id is None:
                return SignInRefused()
            user = await users.get(connection, link.user_id)
            trial = await self._begin(connection, user.email, [(user, "")], visit, browser)
            if isinstance(trial, ThrottleWait):
                return trial
            if not await self._is_right_code(connection, user.user_id, code):
                await self._note_failure(connection, [user], visit)
                return SignInRefused()
            if await links.take(connection, secret, Purpose.SECOND_FACTOR, settled) is None:
                return SignInRefused()
            self.throttle.succeed(trial.source_of(user), guess_elsewhere=False)
            return await self._welcome(connection, user, visit, browser, session, keep=link.keep_signed_in)

    async def confirm(self, user: User, password: str, visit: Visit) -> bool | ThrottleWait:
        """Return whether the password is the user's; checked before a password, token or second factor changes."""
        source = AttemptSource(user.user_id.hex, visit.address or "", secret_token.digest(str(user.user_id)))
        async with self._limiter:
            wait = self.throttle.begin(source, self._clock.monotonic())
            if wait is not None:
                return wait
            async with self._pool.connection() as connection:
                proof = await _proof(connection, user.user_id)
            right = await self.hasher.matches(None if proof is None else proof[0], password)
        if right:
            self.throttle.succeed(source, guess_elsewhere=False)
        return right

    async def hash_new_password(self, email: str, name: str, password: str) -> str:
        """Return the hash of a new password of the user with this address and name. Raises Invalid for a weak one."""
        fault = passwords.fault_of(password, (email, name))
        if fault is not None:
            raise Invalid(f"{fault}.", "password")
        return await self.hasher.hash(password)

    async def set_password(self, user: User, password: str, context: ChangeContext, *, but: UUID | None) -> None:
        """Set a new password; every session except ``but`` and all open links end. Raises Invalid."""
        password_hash = await self.hash_new_password(user.email, user.name, password)
        async with self._pool.connection() as connection, connection.transaction():
            await users.store_password(connection, user, password_hash, context.now, but)
            await record(connection, users.entry(context, "set_password", user), now=context.now)

    async def find_password_link(self, secret: str) -> User | None:
        """Return the user whose password the link sets, or None for a wrong, used or expired link."""
        async with self._pool.connection() as connection:
            link = await links.peek(connection, secret, Purpose.PASSWORD, self.settled())
            return await _owner(connection, link)

    async def use_password_link(self, secret: str, password: str, visit: Visit) -> User | None:
        """Set a password by a one-time link and end every session. None if the link does not work. Raises Invalid."""
        user = await self.find_password_link(secret)
        if user is None:
            return None
        password_hash = await self.hash_new_password(user.email, user.name, password)
        context = ChangeContext(
            Actor(user.email, ActorKind.USER, visit.address), self.now(), self.settled(), user.user_id
        )
        async with self._pool.connection() as connection, connection.transaction():
            if await links.take(connection, secret, Purpose.PASSWORD, context.settled) is None:
                return None
            await users.store_password(connection, user, password_hash, context.now)
            await record(connection, users.entry(context, "set_password", user, None, {"by": "link"}), now=context.now)
        return user

    async def set_second_factor(self, user: User, secret: bytes, code: str, context: ChangeContext) -> None:
        """Turn the second factor on, if ``code`` shows that the authenticator has the secret. Raises Invalid."""
        step = totp.step_of(secret, code, self._clocks(), None)
        if step is None:
            text = "This code is wrong. Check the clock of the phone, and enter the newest code."
            raise Invalid(text, "code")
        sealed = self._keyring.seal(secret, _second_factor_of(user.user_id))
        async with self._pool.connection() as connection, connection.transaction():
            parameters = {"user": user.user_id, "secret": sealed, "step": step, "now": context.now}
            await connection.execute(STATEMENTS["set_second_factor"], parameters)
            await record(connection, users.entry(context, "set_second_factor", user), now=context.now)

    async def drop_second_factor(self, user: User, context: ChangeContext) -> None:
        """Turn the second factor off. Raises Conflict if it is not on."""
        if not user.has_second_factor:
            raise Conflict("The second factor is not on.")
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(STATEMENTS["drop_second_factor"], {"user": user.user_id})
            await record(connection, users.entry(context, "drop_second_factor", user), now=context.now)

    async def welcome(self, user: User, visit: Visit, browser: str | None) -> SignedIn:
        """Begin a session without a password for the first operator after the set-up, whom the link has proved."""
        async with self._pool.connection() as connection:
            return await self._welcome(connection, user, visit, browser, None, keep=False)

    async def sign_out(self, session_id: UUID, user_id: UUID, context: ChangeContext) -> None:
        """End a session; one that has ended in the meantime is no error."""
        async with self._pool.connection() as connection, connection.transaction():
            user = await users.get(connection, user_id)
            parameters = {"session": session_id, "user": user_id}
            cursor = await connection.execute(STATEMENTS["end_session"], parameters)
            if cursor.rowcount:
                await record(connection, users.entry(context, "sign_out", user), now=context.now)

    def _clocks(self) -> tuple[float, ...]:
        """Return the times that an authenticator may go by: in doubt, that of the machine may be the right one."""
        return (self._clock.now(),) if self._clock.trusted else (self._clock.now(), self._clock.wall())

    async def _begin(
        self, connection: Connection[Any], email: str, accounts: Sequence[Account], visit: Visit, browser: str | None
    ) -> Trial | ThrottleWait:
        """Count an attempt at each of ``accounts``, those of ``email``; the shortest wait if all of them must wait."""
        digest = None if browser is None else secret_token.digest(browser)
        parameters = {"users": [user.user_id for user, _ in accounts], "hash": digest}
        cursor = await connection.execute(STATEMENTS["select_knowing"], parameters)
        knowing = {user_id for (user_id,) in await cursor.fetchall()}
        address = visit.address or ""
        sources = [
            AttemptSource(user.user_id.hex, address, digest if user.user_id in knowing else None)
            for user, _ in accounts
        ] or [AttemptSource(email, address)]
        outcomes = self.throttle.begin_each(sources, self._clock.monotonic())
        waits = [outcome for outcome in outcomes if isinstance(outcome, ThrottleWait)]
        if waits and any(wait.newly for wait in waits):
            longest = max(wait.seconds for wait in waits)
            await record(
                connection, _attempt_entry("sign_in_throttled", None, visit, {"seconds": longest}), now=self.now()
            )
        if len(waits) == len(outcomes):
            return min(waits, key=lambda wait: wait.seconds)
        tried = [
            (account, source, outcome)
            for account, source, outcome in zip(accounts, sources, outcomes, strict=False)
            if isinstance(outcome, Counted)
        ]
        return Trial(tried)

    async def _matching(self, accounts: Sequence[tuple[User, str]], most: int, password: str) -> list[tuple[User, str]]:
        """Return the accounts with this password; computes ``most`` hashes, of which there are as many as accounts."""
        matching = []
        for place in range(max(most, 1)):
            account = accounts[place] if place < len(accounts) else None
            if await self.hasher.matches(None if account is None else account[1], password) and account is not None:
                matching.append(account)
        return matching

    async def _rehash(self, connection: Connection[Any], user: User, before: str, password: str) -> None:
        parameters = {"user": user.user_id, "hash": await self.hasher.hash(password), "before": before}
        await connection.execute(STATEMENTS["refresh_hash"], parameters)

    async def _ask_for_code(self, connection: Connection[Any], user: User, *, keep: bool) -> CodeRequired:
        secret = await links.make(
            connection,
            Purpose.SECOND_FACTOR,
            self.now() + SECOND_STEP,
            user_id=user.user_id,
            tenant_id=user.tenant_id,
            keep_signed_in=keep,
        )
        return CodeRequired(secret)

    async def _is_right_code(self, connection: Connection[Any], user_id: UUID, code: str) -> bool:
        proof = await _proof(connection, user_id)
        if proof is None or proof[1] is None:
            return False
        secret = self._keyring.open(proof[1], _second_factor_of(user_id))
        step = totp.step_of(secret, code, self._clocks(), proof[2])
        if step is None:
            return False
        cursor = await connection.execute(STATEMENTS["use_code"], {"user": user_id, "step": step, "wrong": totp.FAR})
        return cursor.rowcount == 1

    async def _welcome(
        self,
        connection: Connection[Any],
        user: User,
        visit: Visit,
        browser: str | None,
        session: str | None,
        *,
        keep: bool,
    ) -> SignedIn:
        now = self.now()
        browser = browser or secret_token.new()
        async with connection.transaction():
            if session is not None:
                await connection.execute(STATEMENTS["end_replaced"], {"hash": secret_token.digest(session)})
            session = await sessions.begin(connection, user, now, self.settled(), visit, keep=keep)
            parameters = {
                "user": user.user_id,
                "hash": secret_token.digest(browser),
                "tenant": user.tenant_id,
                "now": now,
            }
            await connection.execute(STATEMENTS["know_browser"], parameters)
            context = ChangeContext(Actor(user.email, ActorKind.USER, visit.address), now, self.settled(), user.user_id)
            await record(connection, users.entry(context, "sign_in", user), now=now)
        return SignedIn(user, session, keep, browser)

    async def _note_failure(self, connection: Connection[Any], accounts: Sequence[User], visit: Visit) -> None:
        """Record one row for each account of the address; for an unknown one, a row without what was typed."""
        entries = [_attempt_entry("sign_in_failed", user, visit, None) for user in accounts]
        entries = entries or [_attempt_entry("sign_in_failed", None, visit, None)]
        await record(connection, *entries, now=self.now())


async def _accounts(connection: Connection[Any], email: str) -> list[tuple[User, str]]:
    cursor = await connection.execute(STATEMENTS["accounts"], {"email": email})
    return [(user_of(row), row[13]) for row in await cursor.fetchall()]


async def _most_accounts(connection: Connection[Any]) -> int:
    cursor = await connection.execute(STATEMENTS["most_accounts"])
    most: int = require(await cursor.fetchone(), "answer")[0]
    return most


async def _proof(connection: Connection[Any], user_id: UUID) -> tuple[Any, ...] | None:
    """Return password hash, secret and last step of the second factor of a user who is not disabled."""
    cursor = await connection.execute(STATEMENTS["proof"], {"user": user_id})
    return await cursor.fetchone()


async def _owner(connection: Connection[Any], link: Link | None) -> User | None:
    if link is None or link.user_id is None:
        return None
    user = await users.get(connection, link.user_id)
    return None if user.disabled_at is not None else user


def _second_factor_of(user_id: UUID) -> str:
    """Return the name under which a second factor is sealed; no other name opens it."""
    return f"users.totp_secret/{user_id}"


def _attempt_entry(verb: str, user: User | None, visit: Visit, after: dict[str, Any] | None) -> Entry:
    """Return an audit row about an actor who is not signed in."""
    actor = Actor("not signed in", ActorKind.USER, visit.address)
    object_id = "unknown" if user is None else str(user.user_id)
    return Entry(actor, f"user.{verb}", "user", object_id, None if user is None else user.tenant_id, None, after)
