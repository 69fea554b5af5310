"""Users: invited, listed, changed, disabled - each change with its audit row, and none of it across tenants."""

from datetime import timedelta

import pytest

from appliance.errors import Conflict, Invalid, NotFound
from appliance.people import links, sessions, tokens, users
from appliance.people.links import Purpose
from appliance.people.role import Role, Scope, Theme
from appliance.people.signin import SignInRefused
from appliance.people.users import NewUser, Profile, UserFilter, UserState
from tests.support.people import HOME, ROOT, PeopleFixture, customer, open_people
from tests.support.postgres_server import Database


async def secret_of_session(at: PeopleFixture, email: str) -> str:
    """Signed in: the cookie's secret."""
    return (await at.sign_in(email)).session


async def test_a_new_user_is_kept_in_lower_case_once_a_tenant_and_audited(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await users.add(connection, NewUser(" Ingrid@Acme.Example ", Role.ADMIN, "acme", "Ingrid"), ROOT)
        assert (user.email, user.has_password) == ("ingrid@acme.example", False)
        with pytest.raises(Conflict, match="is a user already"):
            await users.add(connection, NewUser("ingrid@acme.example", Role.VIEWER, "acme"), ROOT)
        assert (
            await users.add(connection, NewUser("ingrid@acme.example", Role.VIEWER, "globex"), ROOT)
        ).tenant_id == "globex"
        assert await at.actions() == ["user.add", "user.add"]


@pytest.mark.parametrize(
    "email",
    ["", "a", "a@", "@a", "a b@c.d", "a@b@c", "a@b..c", "a@b.c, d@e.f", "ä@b.c", "a" * 65 + "@b.c", "a\0@b.c"],
)
async def test_what_is_no_address_is_refused_by_its_field(database: Database, email: str) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        with pytest.raises(Invalid) as caught:
            await users.add(connection, NewUser(email, Role.VIEWER, "acme"), ROOT)
        assert caught.value.field == "email"


async def test_operators_have_no_tenant_and_everybody_else_has_one(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        for new in (NewUser("a@b.c", Role.OPERATOR, "acme"), NewUser("a@b.c", Role.ADMIN)):
            with pytest.raises(Invalid):
                await users.add(connection, new, ROOT)
        with pytest.raises(NotFound, match="no tenant never"):
            await users.add(connection, NewUser("a@b.c", Role.ADMIN, "never"), ROOT)


async def test_a_customer_sees_and_changes_the_people_of_its_tenant_alone(database: Database) -> None:
    async with open_people(database) as at:
        ours, theirs = await at.add_user("a@acme.example"), await at.add_user("b@globex.example", tenant="globex")
        operator = await at.add_user("ops@appliance.example", Role.OPERATOR)
        async with customer(database, "acme") as connection:
            assert [user.email for user in await users.list_page(connection, UserFilter(), 50)] == ["a@acme.example"]
            for other in (theirs, operator):
                for change in (
                    users.get(connection, other.user_id),
                    users.set_role(connection, other.user_id, Role.ADMIN, ROOT),
                    users.disable(connection, other.user_id, ROOT),
                    users.enable(connection, other.user_id, ROOT),
                    users.invite(connection, other.user_id, ROOT),
                    users.reset(connection, other.user_id, ROOT),
                ):
                    with pytest.raises(NotFound, match="There is no such user"):
                        await change
            with pytest.raises(NotFound, match="There is no tenant globex"):
                await users.add(connection, NewUser("new@globex.example", Role.ADMIN, "globex"), ROOT)
        async with customer(database, "acme") as connection:
            assert (await users.set_role(connection, ours.user_id, Role.ADMIN, ROOT)).role is Role.ADMIN
            assert (
                await users.add(connection, NewUser("c@acme.example", Role.VIEWER, "acme"), ROOT)
            ).tenant_id == "acme"
            assert await users.invite(connection, ours.user_id, ROOT)
            assert (await users.disable(connection, ours.user_id, ROOT)).disabled_at is not None


async def test_a_role_is_changed_once_and_never_ones_own(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        admin, viewer = await at.add_user("a@acme.example", Role.ADMIN), await at.add_user("v@acme.example")
        for _ in range(2):
            assert (
                await users.set_role(connection, viewer.user_id, Role.RESPONDER, at.by(admin))
            ).role is Role.RESPONDER
        with pytest.raises(Conflict, match="changed by someone else"):
            await users.set_role(connection, viewer.user_id, Role.ADMIN, at.by(admin), was=Role.VIEWER)
        with pytest.raises(Conflict, match="your own role"):
            await users.set_role(connection, admin.user_id, Role.VIEWER, at.by(admin))
        with pytest.raises(Invalid, match="belongs to no tenant"):
            await users.set_role(connection, viewer.user_id, Role.OPERATOR, at.by(admin))
        told = await at.rows("SELECT before, after FROM audit_log WHERE action = 'user.set_role' ORDER BY id")
        assert told == [({"role": "viewer"}, {"role": "responder"})]


async def test_disabling_ends_sessions_links_and_tokens_at_once(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example", Role.ADMIN)
        secret = await secret_of_session(at, user.email)
        token = await tokens.add(connection, user, "t", {Scope.READ}, 1, ROOT)
        link = await users.invite(connection, user.user_id, ROOT)
        await users.disable(connection, user.user_id, ROOT)
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is None
        assert await tokens.find(connection, token, at.now, at.now) is None
        assert await at.signin.find_password_link(link) is None
        assert isinstance(await at.try_sign_in(user.email), SignInRefused)
        with pytest.raises(Conflict, match="is disabled"):
            await users.invite(connection, user.user_id, ROOT)
        await users.enable(connection, user.user_id, ROOT)
        await at.sign_in(user.email)


async def test_nobody_disables_themselves_and_the_last_operator_stays(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        one, two = [await at.add_user(f"{name}@appliance.example", Role.OPERATOR) for name in ("one", "two")]
        with pytest.raises(Conflict, match="disable yourself"):
            await users.disable(connection, one.user_id, at.by(one))
        await users.disable(connection, two.user_id, at.by(one))
        with pytest.raises(Conflict, match="last operator"):
            await users.disable(connection, one.user_id, at.by(two))
        assert (await users.disable(connection, one.user_id, ROOT)).disabled_at is not None


async def test_a_reset_ends_sessions_and_its_link_works_once_for_a_day(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        secret = await secret_of_session(at, user.email)
        stale, link = [await users.reset(connection, user.user_id, ROOT) for _ in range(2)]
        assert await sessions.find(connection, secret, at.now, HOME, touch_at=at.now) is None
        assert await at.signin.use_password_link(stale, "another walrus entirely", HOME) is None
        with pytest.raises(Invalid):
            await at.signin.use_password_link(link, "too short", HOME)
        used = await at.signin.use_password_link(link, "another walrus entirely", HOME)
        assert used is not None
        assert used.user_id == user.user_id
        assert await at.signin.use_password_link(link, "another walrus entirely", HOME) is None
        assert isinstance(await at.try_sign_in(user.email), SignInRefused)
        await at.sign_in(user.email, password="another walrus entirely")
        late = await users.reset(connection, user.user_id, ROOT)
        at.clock.pass_time(timedelta(hours=24))
        assert await at.signin.find_password_link(late) is None


async def test_a_profile_is_changed_with_what_changed_in_the_audit(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        user = await at.add_user("a@acme.example")
        for _ in range(2):
            await users.set_profile(connection, user.user_id, Profile("Ann", "Europe/Oslo", Theme.DARK), at.by(user))
        await users.set_profile(connection, user.user_id, Profile("Ann", None, Theme.DARK), at.by(user))
        for wrong in (
            Profile("a\nb", None, Theme.DARK),
            Profile("a" * 129, None, Theme.DARK),
            Profile("", "Oslo", Theme.DARK),
        ):
            with pytest.raises(Invalid):
                await users.set_profile(connection, user.user_id, wrong, at.by(user))
        changed = await at.rows("SELECT after FROM audit_log WHERE action = 'user.set_profile' ORDER BY id")
        assert changed == [({"name": "Ann", "time_zone": "Europe/Oslo", "theme": "dark"},), ({"time_zone": None},)]


async def test_the_list_is_searched_filtered_and_paged_by_address(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        for number in range(5):
            await at.add_user(f"u{number}@acme.example", password=None)
        await at.add_user("admin@acme.example", Role.ADMIN, password=None)
        first = await users.list_page(connection, UserFilter("acme"), 4)
        after = (first[-1].email, first[-1].user_id)
        rest = await users.list_page(connection, UserFilter("acme", after=after), 4)
        assert [user.email.partition("@")[0] for user in first + rest] == ["admin", "u0", "u1", "u2", "u3", "u4"]
        assert [user.email for user in await users.list_page(connection, UserFilter(role=Role.ADMIN), 50)] == [
            "admin@acme.example"
        ]
        assert [user.email for user in await users.list_page(connection, UserFilter(search="U3@"), 50)] == [
            "u3@acme.example"
        ]
        assert await users.list_page(connection, UserFilter("globex"), 50) == []
        await users.disable(connection, first[1].user_id, ROOT)
        await at.add_user("came@acme.example")
        for state, count in ((UserState.INVITED, 5), (UserState.DISABLED, 1), (UserState.ACTIVE, 1)):
            of_state = await users.list_page(connection, UserFilter(state=state), 50)
            assert [user.state for user in of_state] == [state] * count


async def test_an_address_of_several_tenants_wants_one_named(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        for tenant in ("acme", "globex"):
            await at.add_user("same@both.example", tenant=tenant, password=None)
        with pytest.raises(Conflict, match="acme, globex"):
            await users.by_email(connection, "Same@both.example")
        assert (await users.by_email(connection, "same@both.example", "globex")).tenant_id == "globex"


async def test_a_set_up_link_is_for_one_hour_and_a_newer_one_kills_it(database: Database) -> None:
    async with open_people(database) as at, at.pool.connection() as connection:
        first, second = [await links.make_set_up(connection, at.now) for _ in range(2)]
        assert await links.peek(connection, first, Purpose.SET_UP, at.now) is None
        assert await links.peek(connection, second, Purpose.PASSWORD, at.now) is None
        assert await links.peek(connection, second, Purpose.SET_UP, at.now + links.SET_UP) is None
        assert await links.take(connection, second, Purpose.SET_UP, at.now) is not None
        assert await links.take(connection, second, Purpose.SET_UP, at.now) is None
        kept = await at.rows("SELECT 1 FROM links WHERE encode(link_hash, 'escape') = %s", second)
        assert kept == []
