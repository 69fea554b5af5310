"""Sessions and API tokens: kept as hashes, idle and absolute ends, each owner's own."""

from datetime import timedelta
from uuid import uuid4

import pytest

from appliance.errors import Conflict, Invalid, NotFound
from appliance.people import secret_token, sessions, tokens
from appliance.people.role import Role, Scope
from appliance.people.sessions import IDLE, KEPT_LIFETIME, LIFETIME, MAX_A_USER, Visit
from tests.support.people import HOME, ROOT, customer, open_people
from tests.support.postgres_server import Database

MINUTE = timedelta(minutes=1)


async def test_a_session_ends_after_half_an_hour_without_a_request(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        secret = await sessions.begin(connection, user, at.now, at.now, HOME, keep=False)
        for _ in range(3):
            at.clock.pass_time(IDLE - MINUTE)
            assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is not None
        at.clock.pass_time(IDLE)
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is None


async def test_a_look_that_is_no_activity_prolongs_nothing(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        secret = await sessions.begin(connection, await at.add_user("a@acme.example"), at.now, at.now, HOME, keep=False)
        at.clock.pass_time(IDLE - MINUTE)
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=None) is not None
        at.clock.pass_time(MINUTE)
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is None


async def test_however_busy_a_session_ends_after_its_lifetime(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        secret = await sessions.begin(connection, user, at.now, at.now, HOME, keep=False)
        begun = at.now
        while at.now < begun + LIFETIME - IDLE:
            at.clock.pass_time(IDLE - MINUTE)
            assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is not None
        at.clock.pass_time(IDLE)
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is None


async def test_who_stays_signed_in_has_no_idle_time_and_an_end_all_the_same(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        secret = await sessions.begin(connection, user, at.now, at.now, HOME, keep=True)
        at.clock.pass_time(KEPT_LIFETIME - MINUTE)
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is not None
        at.clock.pass_time(MINUTE)
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is None


async def test_the_secret_is_nowhere_in_the_database(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        secret = await sessions.begin(connection, user, at.now, at.now, HOME, keep=False)
        assert await at.rows("SELECT session_hash FROM sessions") == [(secret_token.digest(secret),)]
        assert await sessions.find(connection, secret[:-1], at.now, HOME, touch_at=at.now) is None


async def test_owners_list_and_end_their_own_sessions_only(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        mine, other = await at.add_user("a@acme.example"), await at.add_user("b@acme.example")
        secrets = [
            await sessions.begin(connection, mine, at.now, at.now, Visit("192.0.2.1", "Chrome\n"), keep=False)
            for _ in range(3)
        ]
        theirs = await sessions.begin(connection, other, at.now, at.now, HOME, keep=False)
        first, *_ = listed = await sessions.list_of(connection, mine.user_id, at.now)
        assert (len(listed), first.agent, first.address) == (3, "Chrome", "192.0.2.1")
        (their_own,) = await sessions.list_of(connection, other.user_id, at.now)
        with pytest.raises(NotFound):
            await sessions.end(connection, mine, their_own.session_id, at.by(mine))
        await sessions.end(connection, mine, first.session_id, at.by(mine))
        kept = (await sessions.list_of(connection, mine.user_id, at.now))[0].session_id
        assert await sessions.end_others(connection, mine, kept, at.by(mine)) == 1
        alive = [await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) for secret in secrets]
        assert sum(session is not None for session in alive) == 1
        assert await sessions.find(connection, theirs, at.now, HOME, touch_at=at.now) is not None
        assert (await at.actions())[-2:] == ["session.end", "session.end_others"]


async def test_a_user_has_a_bounded_number_of_sessions_and_the_longest_silent_end_first(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        secrets = []
        for _ in range(MAX_A_USER + 5):
            at.clock.pass_time(timedelta(seconds=1))
            secrets.append(await sessions.begin(connection, user, at.now, at.now, HOME, keep=False))
        alive = [await sessions.find(connection, secret, at.now, HOME, touch_at=None) is not None for secret in secrets]
        assert alive == [False] * 5 + [True] * MAX_A_USER


async def test_a_token_is_its_users_until_its_end_and_says_when_it_was_used(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        secret = await tokens.add(connection, user, "cron", {Scope.READ, Scope.WRITE}, 2, at.by(user))
        shown = await tokens.find(connection, secret, at.now, at.now)
        assert shown is not None
        assert (shown.user.user_id, shown.token.scopes) == (user.user_id, frozenset({Scope.READ, Scope.WRITE}))
        (token,) = await tokens.list_of(connection, user.user_id)
        assert token.last_used_at == at.now
        assert await tokens.find(connection, secret + "x", at.now, at.now) is None
        assert await tokens.find(connection, secret, at.now + timedelta(days=2), at.now + timedelta(days=2)) is None
        with pytest.raises(NotFound):
            await tokens.revoke(connection, user.user_id, uuid4(), at.by(user))
        await tokens.revoke(connection, user.user_id, token.token_id, at.by(user))
        assert await tokens.find(connection, secret, at.now, at.now) is None
        assert (await at.actions())[-2:] == ["token.add", "token.revoke"]


async def test_another_tenants_token_cannot_be_seen_or_revoked(database: Database) -> None:
    async with open_people(database) as at:
        user = await at.add_user("b@globex.example", tenant="globex")
        async with at.pool.connection() as connection:
            await tokens.add(connection, user, "cron", {Scope.READ}, 2, at.by(user))
            (token,) = await tokens.list_of(connection, user.user_id)
        async with customer(database, "acme") as connection:
            assert await tokens.list_of(connection, user.user_id) == []
            with pytest.raises(NotFound):
                await tokens.revoke(connection, user.user_id, token.token_id, ROOT)


async def test_what_no_token_can_be_is_refused_by_its_field(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example", Role.ADMIN)
        wrong = [
            ("", {Scope.READ}, 1, "name"),
            ("a\nb", {Scope.READ}, 1, "name"),
            ("a", set(), 1, "scopes"),
            ("a", {Scope.READ}, 0, "days"),
        ]
        for name, scopes, days, field in wrong:
            with pytest.raises(Invalid) as caught:
                await tokens.add(connection, user, name, scopes, days, ROOT)
            assert caught.value.field == field
        with pytest.raises(Invalid):
            tokens.scopes_of(["all"])
        for number in range(tokens.MAX_A_USER):
            await tokens.add(connection, user, f"t{number}", {Scope.READ}, 1, ROOT)
        with pytest.raises(Conflict, match="revoke one first"):
            await tokens.add(connection, user, "one more", {Scope.READ}, 1, ROOT)
