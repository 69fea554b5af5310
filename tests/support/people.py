"""Two tenants with people in all roles, and the service at which they sign in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.clock import Clock
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.pool import Pool, open_pool
from appliance.db.trio_psycopg import Connection, connect
from appliance.keyring import Keyring, new_key
from appliance.people import users
from appliance.people.passwords import Cost, Hasher
from appliance.people.role import Role
from appliance.people.sessions import Visit
from appliance.people.signin import Attempt, SignedIn, SignIn, SignInOutcome
from appliance.people.users import NewUser, User
from tests.support.clock import TrustedClock
from tests.support.postgres_server import Database

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROOT = ChangeContext(Actor("root", ActorKind.COMMAND), NOW, NOW, user_id=None)
"""Somebody at the command line."""
PASSWORD = "a walrus on a bicycle"
CHEAP = Cost(memory_kib=64, passes=1)
"""For hashes that nobody guesses."""
HOME = Visit("192.0.2.7", "Firefox")


@dataclass(slots=True)
class StillClock(TrustedClock):
    """A clock that moves when told."""

    at: datetime = NOW
    trusted: bool = True
    settled_at: datetime = NOW
    wall_at: datetime = NOW
    passed: float = field(default=1000.0)

    def now(self) -> float:
        """Return the time of day."""
        return self.at.timestamp()

    def settled(self) -> float:
        """Return the time of day, in doubt that at its begin."""
        return (self.at if self.trusted else self.settled_at).timestamp()

    def wall(self) -> float:
        """Return what the machine shows."""
        return (self.at if self.trusted else self.wall_at).timestamp()

    def begin_doubt(self, wall: timedelta) -> None:
        """Set the clock of the machine forward or back by ``wall``: it is in doubt from now on."""
        self.trusted, self.settled_at, self.wall_at = False, self.at, self.at + wall

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self.passed

    def pass_time(self, time: timedelta) -> None:
        """Move both clocks forward."""
        self.at += time
        self.passed += time.total_seconds()


@dataclass(slots=True)
class PeopleFixture:
    """The database of the two tenants, its clock, and its sign-in service."""

    pool: Pool
    clock: StillClock
    signin: SignIn

    @property
    def now(self) -> datetime:
        """Return what the clock shows."""
        return self.clock.at

    def by(self, user: User) -> ChangeContext:
        """Return the context of a change by this user, now."""
        return ChangeContext(Actor(user.email, ActorKind.USER, HOME.address), self.now, self.now, user.user_id)

    async def add_user(
        self, email: str, role: Role = Role.VIEWER, tenant: str | None = "acme", password: str | None = PASSWORD
    ) -> User:
        """Add a user, with a password unless that is None."""
        new = NewUser(email, role, None if role is Role.OPERATOR else tenant)
        async with self.pool.connection() as connection, connection.transaction():
            user = await users.add(connection, new, replace(ROOT, now=self.now))
            if password is not None:
                await users.store_password(connection, user, await self.signin.hasher.hash(password), self.now)
            return await users.get(connection, user.user_id)

    async def try_sign_in(
        self, email: str, password: str = PASSWORD, visit: Visit = HOME, browser: str | None = None, **rest: Any
    ) -> SignInOutcome:
        """Take the first step of a sign-in."""
        return await self.signin.with_password(Attempt(email, password, visit, browser, **rest))

    async def sign_in(self, email: str, **rest: Any) -> SignedIn:
        """Sign in; fails unless that succeeds."""
        outcome = await self.try_sign_in(email, **rest)
        assert isinstance(outcome, SignedIn), outcome
        return outcome

    async def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        async with self.pool.connection() as connection:
            return await (await connection.execute(query.encode(), parameters)).fetchall()

    async def actions(self) -> list[str]:
        """Return the actions of the audit log, in order."""
        return [row[0] for row in await self.rows("SELECT action FROM audit_log ORDER BY id")]


@asynccontextmanager
async def open_people(
    database: Database, *, clock: Clock | None = None, cost: Cost = CHEAP
) -> AsyncIterator[PeopleFixture]:
    """Open a database with the tenants acme and globex."""
    still = StillClock()
    async with open_pool(database.conninfo("appliance_ingest"), name="people", min_size=1, max_size=6) as pool:
        async with pool.connection() as connection:
            await connection.execute(
                "INSERT INTO tenants (created_at, updated_at, tenant_id)"
                " VALUES (now(), now(), 'acme'), (now(), now(), 'globex')"
            )
        yield PeopleFixture(pool, still, SignIn(pool, clock or still, Keyring([new_key()]), Hasher(cost)))


@asynccontextmanager
async def customer(database: Database, tenant_id: str) -> AsyncIterator[Connection[Any]]:
    """A connection of the dashboard's role, in a transaction of this tenant."""
    async with await connect(database.conninfo("appliance_web")) as connection, connection.transaction():
        await connection.execute("SELECT set_config('appliance.tenant_id', %s, true)", [tenant_id])
        yield connection
