"""One database, two ways in."""

from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from appliance.db import roles
from appliance.db.endpoint import Endpoint
from appliance.db.trio_psycopg import connect
from tests.support.postgres_server import Database, PostgresServer


def test_local_logs_in_as_the_role() -> None:
    conninfo = Endpoint.local(Path("/run/edge"), 5433).conninfo("appliance_web")
    assert conninfo_to_dict(conninfo) == {
        "host": "/run/edge",
        "port": "5433",
        "dbname": "appliance",
        "user": "appliance_web",
    }


def test_external_logs_in_as_given_and_puts_the_role_on() -> None:
    endpoint = Endpoint.external("postgresql://me:secret@db.example:5433/edge?options=-c%20lock_timeout%3D5s")
    given = conninfo_to_dict(endpoint.conninfo("appliance_web"))
    assert (given["user"], given["password"], given["dbname"]) == ("me", "secret", "edge")
    assert given["options"] == "-c lock_timeout=5s -c role=appliance_web"


def test_external_notices_a_peer_that_is_gone_unless_told_otherwise() -> None:
    given = conninfo_to_dict(Endpoint.external("host=db.example keepalives_idle=7").conninfo("appliance_web"))
    assert (given["keepalives_idle"], given["keepalives_interval"]) == ("7", "10")


def test_a_standby_is_no_external_database_unless_told_otherwise() -> None:
    given = Endpoint.external("host=a,b")
    assert conninfo_to_dict(given.conninfo("appliance_web"))["target_session_attrs"] == "primary"
    told = Endpoint.external("host=a,b target_session_attrs=any")
    assert conninfo_to_dict(told.conninfo("appliance_web"))["target_session_attrs"] == "any"
    assert "target_session_attrs" not in given.shown()


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Endpoint.external("postgresql://me:secret@db.example/edge"))


async def test_both_ways_end_in_the_same_role(database: Database) -> None:
    for endpoint in (database.endpoint, Endpoint.external(database.conninfo())):
        for role in roles.ROLES:
            async with await connect(endpoint.conninfo(role.name)) as connection:
                assert await (await connection.execute("SELECT current_user::text")).fetchone() == (role.name,)


async def test_the_role_stays_on_after_a_reset(database: Database, postgres_server: PostgresServer) -> None:
    assert database.server is postgres_server
    async with await connect(Endpoint.external(database.conninfo()).conninfo(roles.WEB)) as connection:
        await connection.execute("RESET ALL")
        await connection.execute("RESET ROLE")
        assert await (await connection.execute("SELECT current_user::text")).fetchone() == (roles.WEB,)
