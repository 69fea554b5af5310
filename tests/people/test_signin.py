"""Signing in: who comes in, what everybody else is told (nothing), and what it costs the machine."""

from datetime import timedelta
from pathlib import Path

import pytest
import trio

from appliance.clock import SystemClock
from appliance.errors import ApplianceError, Conflict, Invalid
from appliance.keyring import Keyring, new_key
from appliance.people import audit_query, sessions, totp, users
from appliance.people.passwords import DEFAULT_COST, Hasher
from appliance.people.role import Role
from appliance.people.secret_token import digest
from appliance.people.sessions import Visit
from appliance.people.signin import SECOND_STEP, Attempt, CodeRequired, SeveralAccounts, SignedIn, SignInRefused
from appliance.people.throttle import FREE, ThrottleWait
from appliance.people.users import User
from tests.support.busy import within
from tests.support.people import HOME, PASSWORD, ROOT, PeopleFixture, open_people
from tests.support.postgres_server import Database

THIEF = Visit("203.0.113.9", "curl")
KIB = 1024


async def enrol(at: PeopleFixture, user: User) -> bytes:
    """Give the user a second factor; its secret."""
    secret = totp.new_secret()
    await at.signin.set_second_factor(user, secret, code_of(at, secret), at.by(user))
    at.clock.pass_time(timedelta(seconds=totp.STEP))  # the code that enrolled is used up
    return secret


def code_of(at: PeopleFixture, secret: bytes) -> str:
    """What the authenticator shows now."""
    return totp.code(secret, int(at.clock.now() // totp.STEP))


async def test_the_right_password_makes_a_new_session_each_time(database: Database) -> None:
    async with open_people(database) as at:
        await at.add_user("ingrid@acme.example")
        one, two = [await at.sign_in(email) for email in ("ingrid@acme.example", " INGRID@acme.example ")]
        assert one.session != two.session
        assert await at.rows("SELECT count(*) FROM sessions") == [(2,)]
        assert (await at.actions())[-2:] == ["user.sign_in", "user.sign_in"]
        for secret in (one.session, one.browser, PASSWORD):
            assert secret not in repr(one)


async def test_signing_in_again_ends_the_session_that_the_browser_had(database: Database) -> None:
    async with open_people(database) as at:
        await at.add_user("ingrid@acme.example")
        secret = await enrol(at, await at.add_user("kim@acme.example"))
        first = await at.sign_in("ingrid@acme.example")
        elsewhere = await at.sign_in("ingrid@acme.example")
        again = await at.sign_in("ingrid@acme.example", session=first.session)
        assert await at.rows("SELECT count(*) FROM sessions") == [(2,)]
        wanted = await at.try_sign_in("kim@acme.example", session=again.session)
        assert isinstance(wanted, CodeRequired)
        assert await at.rows("SELECT count(*) FROM sessions") == [(2,)], "until the code is right"
        signed = await at.signin.with_code(wanted.link, code_of(at, secret), HOME, None, again.session)
        assert isinstance(signed, SignedIn)
        left = await at.rows("SELECT session_hash FROM sessions ORDER BY session_hash")
        assert left == sorted((digest(one.session),) for one in (elsewhere, signed))


async def test_wrong_unknown_disabled_and_not_yet_come_are_told_the_same(database: Database) -> None:
    async with open_people(database) as at:
        await at.add_user("ingrid@acme.example")
        await at.add_user("invited@acme.example", password=None)
        gone = await at.add_user("gone@acme.example")
        async with at.pool.connection() as connection:
            await users.disable(connection, gone.user_id, ROOT)
        told = [
            await at.try_sign_in("ingrid@acme.example", "not the password"),
            await at.try_sign_in("nobody@acme.example"),
            await at.try_sign_in("invited@acme.example"),
            await at.try_sign_in("gone@acme.example"),
            await at.try_sign_in("no address"),
            await at.try_sign_in("\ud800@x"),
        ]
        assert told == [SignInRefused()] * 6


async def test_a_try_costs_the_same_number_of_hashes_and_rows_whoever_is_meant(database: Database) -> None:
    async with open_people(database) as at:
        await at.add_user("ingrid@acme.example")
        for tenant in ("acme", "globex"):
            await at.add_user("both@x.example", tenant=tenant)
        costs = []
        for email in ("ingrid@acme.example", "both@x.example", "nobody@x.example", "ingrid@acme.example"):
            before, rows = at.signin.hasher.made, len(await at.actions())
            assert isinstance(await at.try_sign_in(email, "not the password"), SignInRefused)
            costs.append((at.signin.hasher.made - before, len(await at.actions()) - rows))
        hashes = {made for made, _ in costs}
        assert hashes == {2}, "as many as one address has accounts at most, for everybody"
        assert {written for _, written in costs} <= {1, 2}


async def test_the_audit_of_a_wrong_try_does_not_keep_what_was_typed(database: Database) -> None:
    async with open_people(database) as at:
        await at.try_sign_in("my-password-by-mistake", "x")
        rows = await at.rows("SELECT actor, object_id, before, after FROM audit_log ORDER BY id")
        assert rows == [("not signed in", "unknown", None, None)]


async def test_a_thousand_wrong_tries_are_throttled_and_the_right_one_passes_from_elsewhere(database: Database) -> None:
    async with open_people(database) as at:
        await at.add_user("ingrid@acme.example")
        outcomes = [await at.try_sign_in("ingrid@acme.example", f"guess {n}", THIEF) for n in range(1000)]
        assert sum(isinstance(outcome, SignInRefused) for outcome in outcomes) == FREE
        assert at.signin.hasher.made <= FREE + 1, "a throttled try makes no hash"
        waits = [outcome for outcome in outcomes if isinstance(outcome, ThrottleWait)]
        assert len(waits) == 1000 - FREE
        assert all(wait.seconds >= 30 for wait in waits)
        assert isinstance(await at.try_sign_in("ingrid@acme.example", visit=THIEF), ThrottleWait), (
            "not even with the right one"
        )
        await at.sign_in("ingrid@acme.example")
        assert (await at.actions()).count("user.sign_in_throttled") == 1


async def test_a_known_browser_passes_while_the_account_is_locked_for_unknown_browsers(database: Database) -> None:
    async with open_people(database) as at:
        await at.add_user("ingrid@acme.example")
        browser = (await at.sign_in("ingrid@acme.example")).browser
        for number in range(60):
            await at.try_sign_in("ingrid@acme.example", "guess", Visit(f"198.51.100.{number}"))
        assert isinstance(await at.try_sign_in("ingrid@acme.example"), ThrottleWait)
        assert isinstance(await at.try_sign_in("ingrid@acme.example", browser="not known"), ThrottleWait)
        await at.sign_in("ingrid@acme.example", browser=browser)


async def test_one_password_for_several_accounts_asks_which(database: Database) -> None:
    async with open_people(database) as at:
        for role, tenant in ((Role.VIEWER, "acme"), (Role.ADMIN, "globex"), (Role.OPERATOR, None)):
            await at.add_user("same@x.example", role, tenant)
        outcome = await at.try_sign_in("same@x.example")
        assert isinstance(outcome, SeveralAccounts)
        assert set(outcome.tenants) == {"acme", "globex", None}
        chosen = [await at.sign_in("same@x.example", tenant_id=tenant) for tenant in ("acme", "globex", "")]
        assert [signed.user.role for signed in chosen] == [Role.VIEWER, Role.ADMIN, Role.OPERATOR]
        assert isinstance(await at.try_sign_in("same@x.example", tenant_id="initech"), SeveralAccounts)


OPERATORS = "the operator's own"
VIEWERS = "the viewer's own"


async def two_accounts(at: PeopleFixture) -> User:
    """Give one address an operator's account and, with another password, one in a tenant; return the latter."""
    await at.add_user("same@x.example", Role.OPERATOR, None, password=OPERATORS)
    return await at.add_user("same@x.example", Role.VIEWER, "acme", password=VIEWERS)


async def test_being_right_at_an_own_account_does_not_help_to_guess_at_another_of_the_address(
    database: Database,
) -> None:
    async with open_people(database) as at:
        await two_accounts(at)
        owner = await at.sign_in("same@x.example", password=OPERATORS)
        thief = (await at.sign_in("same@x.example", password=VIEWERS, visit=THIEF)).browser
        for guess in range(2 * FREE):
            wrong = await at.try_sign_in("same@x.example", f"guess {guess}", THIEF, browser=thief)
            assert isinstance(wrong, SignInRefused)
            if guess % 9 == 8:
                await at.sign_in("same@x.example", password=VIEWERS, visit=THIEF, browser=thief)
        known = await at.try_sign_in("same@x.example", OPERATORS, THIEF, browser=thief)
        assert isinstance(known, SignInRefused), "it is not even tried at the operator's account"
        await at.sign_in("same@x.example", password=VIEWERS, visit=THIEF, browser=thief)
        await at.sign_in("same@x.example", password=OPERATORS, visit=HOME, browser=owner.browser)


async def test_a_new_password_of_an_own_account_is_a_new_guess_at_another(database: Database) -> None:
    async with open_people(database) as at:
        viewer = await two_accounts(at)
        guess, rounds = VIEWERS, 0
        while isinstance(await at.try_sign_in("same@x.example", guess, THIEF), SignedIn):
            rounds += 1
            assert rounds <= FREE
            guess = f"a new password {rounds}"
            await at.signin.set_password(viewer, guess, at.by(viewer), but=None)
        assert rounds == FREE, "each was a guess at the operator's account, and none was taken back"


async def test_who_has_two_accounts_signs_in_to_each_as_often_as_they_like(database: Database) -> None:
    async with open_people(database) as at:
        await two_accounts(at)
        for _ in range(2 * FREE):
            await at.sign_in("same@x.example", password=VIEWERS)
            await at.sign_in("same@x.example", password=OPERATORS)


async def test_a_second_factor_is_asked_for_and_each_code_is_good_once(database: Database) -> None:
    async with open_people(database) as at:
        secret = await enrol(at, await at.add_user("ingrid@acme.example"))
        wanted = await at.try_sign_in("ingrid@acme.example", keep=True)
        assert isinstance(wanted, CodeRequired)
        assert await at.rows("SELECT 1 FROM sessions") == []
        assert isinstance(await at.signin.with_code(wanted.link, "000000", HOME, None), SignInRefused)
        code = code_of(at, secret)
        signed = await at.signin.with_code(wanted.link, code, HOME, None)
        assert isinstance(signed, SignedIn)
        assert signed.kept
        again = await at.try_sign_in("ingrid@acme.example")
        assert isinstance(again, CodeRequired)
        assert isinstance(await at.signin.with_code(again.link, code, HOME, None), SignInRefused)
        assert isinstance(await at.signin.with_code(wanted.link, code_of(at, secret), HOME, None), SignInRefused)


async def test_the_second_step_ends_after_five_minutes_and_codes_cannot_be_guessed(database: Database) -> None:
    async with open_people(database) as at:
        secret = await enrol(at, await at.add_user("ingrid@acme.example"))
        wanted = await at.try_sign_in("ingrid@acme.example")
        assert isinstance(wanted, CodeRequired)
        outcomes = [await at.signin.with_code(wanted.link, f"{n:06}", THIEF, None) for n in range(100)]
        assert sum(isinstance(outcome, SignInRefused) for outcome in outcomes) <= FREE
        fresh = await at.try_sign_in("ingrid@acme.example")
        assert isinstance(fresh, CodeRequired)
        at.clock.pass_time(SECOND_STEP)
        assert isinstance(await at.signin.with_code(fresh.link, code_of(at, secret), HOME, None), SignInRefused)


async def test_a_second_factor_is_kept_sealed_and_opens_with_the_appliances_key_alone(database: Database) -> None:
    async with open_people(database) as at:
        user = await at.add_user("ingrid@acme.example")
        secret = await enrol(at, user)
        ((kept,),) = await at.rows("SELECT totp_secret FROM users WHERE user_id = %s", user.user_id)
        assert secret not in kept
        wanted = await at.try_sign_in("ingrid@acme.example")
        assert isinstance(wanted, CodeRequired)
        at.signin._keyring = Keyring([new_key()])
        with pytest.raises(ApplianceError, match=r"keys\.json"):
            await at.signin.with_code(wanted.link, code_of(at, secret), HOME, None)


async def test_a_second_factor_begins_with_a_right_code_and_ends_once(database: Database) -> None:
    async with open_people(database) as at:
        user = await at.add_user("ingrid@acme.example")
        with pytest.raises(Invalid, match="code is wrong"):
            await at.signin.set_second_factor(user, totp.new_secret(), "000000", at.by(user))
        with pytest.raises(Conflict):
            await at.signin.drop_second_factor(user, at.by(user))
        await enrol(at, user)
        async with at.pool.connection() as connection:
            user = await users.get(connection, user.user_id)
        await at.signin.drop_second_factor(user, at.by(user))
        await at.sign_in("ingrid@acme.example")
        assert (await at.actions())[-3:] == ["user.set_second_factor", "user.drop_second_factor", "user.sign_in"]


async def test_a_new_password_ends_every_session_but_the_one_it_was_set_in(database: Database) -> None:
    async with open_people(database) as at:
        user = await at.add_user("ingrid@acme.example")
        for _ in range(3):
            await at.sign_in("ingrid@acme.example")
        ((keep,), *_) = await at.rows("SELECT session_id FROM sessions")
        with pytest.raises(Invalid) as caught:
            await at.signin.set_password(user, "ingrid@acme.example", at.by(user), but=keep)
        assert caught.value.field == "password"
        await at.signin.set_password(user, "a completely other walrus", at.by(user), but=keep)
        assert await at.rows("SELECT session_id FROM sessions") == [(keep,)]
        assert isinstance(await at.try_sign_in("ingrid@acme.example"), SignInRefused)
        await at.sign_in("ingrid@acme.example", password="a completely other walrus")


async def test_a_confirmation_is_throttled_as_a_sign_in_is(database: Database) -> None:
    async with open_people(database) as at:
        user = await at.add_user("ingrid@acme.example")
        assert await at.signin.confirm(user, PASSWORD, HOME) is True
        outcomes = [await at.signin.confirm(user, f"guess {n}", HOME) for n in range(50)]
        assert outcomes[:FREE] == [False] * FREE
        assert all(isinstance(outcome, ThrottleWait) for outcome in outcomes[FREE:])


async def test_a_hash_of_yesterdays_cost_is_made_anew_when_its_owner_comes(database: Database) -> None:
    async with open_people(database) as at:
        await at.add_user("ingrid@acme.example")
        at.signin.hasher = Hasher(DEFAULT_COST)
        await at.sign_in("ingrid@acme.example")
        ((kept,),) = await at.rows("SELECT password_hash FROM users")
        assert not at.signin.hasher.is_outdated(kept)
        await at.sign_in("ingrid@acme.example")


async def test_a_hundred_at_once_take_no_more_memory_than_two_and_leave_the_loop_its_turn(database: Database) -> None:
    async with open_people(database, clock=SystemClock(), cost=DEFAULT_COST) as at:
        for number in range(10):
            await at.add_user(f"u{number}@acme.example")
        resident, latest = _resident(), 0.0
        most = resident
        done = trio.Event()

        async def watch() -> None:
            nonlocal latest, most
            while not done.is_set():
                before = trio.current_time()
                await trio.sleep(0.01)
                latest = max(latest, trio.current_time() - before - 0.01)
                most = max(most, _resident())

        async with trio.open_nursery() as watching:
            watching.start_soon(watch)
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    visit = Visit(f"198.51.100.{number}")
                    nursery.start_soon(
                        at.signin.with_password, Attempt(f"u{number % 10}@acme.example", PASSWORD, visit)
                    )
            done.set()
        assert await at.rows("SELECT count(*) FROM sessions") == [(100,)]
        assert most - resident < 4 * DEFAULT_COST.memory_kib * KIB, "two hashes, and some room"
        assert latest < within(0.5), "messages are taken meanwhile"


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 * KIB


async def test_the_audit_reads_newest_first_by_person_object_action_and_time(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        ingrid = await at.add_user("ingrid@acme.example", Role.ADMIN)
        at.clock.pass_time(timedelta(seconds=1))
        kim = await at.add_user("kim@acme.example")
        await at.sign_in("ingrid@acme.example")
        await users.set_role(connection, kim.user_id, Role.RESPONDER, at.by(ingrid))
        rows = await audit_query.read(connection, audit_query.AuditFilter(tenant_id="acme"), 100)
        assert [row.action for row in rows] == ["user.set_role", "user.sign_in", "user.add", "user.add"]

        async def actions(**wanted: object) -> list[str]:
            return [row.action for row in await audit_query.read(connection, audit_query.AuditFilter(**wanted), 100)]  # type: ignore[arg-type] # as asked

        assert await actions(actor="ingrid@acme.example") == ["user.set_role", "user.sign_in"]
        assert await actions(object=f"user/{kim.user_id}") == ["user.set_role", "user.add"]
        assert await actions(object=str(kim.user_id), action="user.set") == ["user.set_role"]
        assert await actions(until=rows[-2].at) == ["user.add"]
        assert await actions(tenant_id="globex") == []
        assert await actions(before_id=rows[1].id) == ["user.add", "user.add"]


async def test_in_doubt_a_code_for_either_clock_is_right(database: Database) -> None:
    async with open_people(database) as at:
        secret = await enrol(at, await at.add_user("ingrid@acme.example"))
        at.clock.begin_doubt(timedelta(hours=-14))
        for clock in (at.clock.now(), at.clock.wall()):
            wanted = await at.try_sign_in("ingrid@acme.example")
            assert isinstance(wanted, CodeRequired)
            code = totp.code(secret, int(clock // totp.STEP))
            assert isinstance(await at.signin.with_code(wanted.link, code, HOME, None), SignedIn)
            again = await at.try_sign_in("ingrid@acme.example")
            assert isinstance(again, CodeRequired)
            assert isinstance(await at.signin.with_code(again.link, code, HOME, None), SignInRefused), "each once"


async def test_a_code_that_a_wrong_clock_accepted_locks_nobody_out(database: Database) -> None:
    async with open_people(database) as at:
        right = at.clock.at
        at.clock.at += timedelta(days=3650)
        secret = await enrol(at, await at.add_user("ingrid@acme.example"))
        at.clock.at = right
        wanted = await at.try_sign_in("ingrid@acme.example")
        assert isinstance(wanted, CodeRequired)
        code = code_of(at, secret)
        assert isinstance(await at.signin.with_code(wanted.link, code, HOME, None), SignedIn)
        again = await at.try_sign_in("ingrid@acme.example")
        assert isinstance(again, CodeRequired)
        assert isinstance(await at.signin.with_code(again.link, code, HOME, None), SignInRefused), "a code is good once"


async def test_in_doubt_no_session_ends_and_no_link(database: Database) -> None:
    async with open_people(database) as at:
        secret = await enrol(at, await at.add_user("ingrid@acme.example"))
        signed = await at.sign_in((await at.add_user("b@acme.example")).email)
        wanted = await at.try_sign_in("ingrid@acme.example")
        assert isinstance(wanted, CodeRequired)
        at.clock.begin_doubt(timedelta(days=3650))
        at.clock.pass_time(timedelta(days=2))
        code = code_of(at, secret)
        assert isinstance(await at.signin.with_code(wanted.link, code, HOME, None), SignedIn)
        async with at.pool.connection() as connection:
            settled = at.signin.settled()
            found = await sessions.find(connection, signed.session, settled, HOME, touch_at=at.now)
        assert found is not None
