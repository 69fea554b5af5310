"""The four roles, and what becomes of a server where they are not as they must be."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from appliance.clock import SystemClock
from appliance.db import bootstrap, roles
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import migrate
from appliance.db.trio_psycopg import connect
from appliance.errors import ApplianceError
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.real  # servers of their own, which the fixtures' names do not tell


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """Roles belong to a whole server: these tests spoil theirs."""
    with PostgresServer() as server:
        yield server


def as_superuser(server: PostgresServer, *statements: str, dbname: str = "postgres") -> None:
    with psycopg.connect(server.conninfo(dbname), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def test_they_are_made_once_with_exactly_their_attributes(own_server: PostgresServer) -> None:
    async with await connect(own_server.conninfo()) as connection:
        await roles.create_missing(connection)
        assert await roles.create_missing(connection) == []
        await roles.verify(connection)
        cursor = await connection.execute(
            "SELECT rolname, rolbypassrls FROM pg_roles WHERE rolname LIKE 'appliance%' AND rolcanlogin"
            " AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication) ORDER BY 1"
        )
        assert await cursor.fetchall() == [
            ("appliance_backup", True),
            ("appliance_ingest", True),
            ("appliance_owner", False),
            ("appliance_web", False),
        ]


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        ("ALTER ROLE appliance_web BYPASSRLS", "ALTER ROLE appliance_web LOGIN .*NOBYPASSRLS;"),
        ("ALTER ROLE appliance_web SUPERUSER", "ALTER ROLE appliance_web LOGIN NOSUPERUSER"),
        ("ALTER ROLE appliance_owner CREATEROLE", "ALTER ROLE appliance_owner .*NOCREATEROLE"),
        ("ALTER ROLE appliance_ingest NOBYPASSRLS", "ALTER ROLE appliance_ingest .* BYPASSRLS"),
        ("ALTER ROLE appliance_backup NOLOGIN", "ALTER ROLE appliance_backup LOGIN"),
        ("GRANT appliance_owner TO appliance_web", "REVOKE appliance_owner FROM appliance_web"),
        ("GRANT pg_read_all_data TO appliance_web", "REVOKE pg_read_all_data FROM appliance_web"),
        ("DROP ROLE appliance_backup", "CREATE ROLE appliance_backup LOGIN"),
    ],
)
async def test_a_wrong_one_is_refused_with_the_mend_and_the_mend_helps(
    own_server: PostgresServer, spoil: str, mend: str
) -> None:
    async with await connect(own_server.conninfo()) as connection:
        await roles.create_missing(connection)
        await connection.execute(spoil.encode())
        with pytest.raises(ApplianceError, match=mend) as caught:
            await roles.verify(connection)
        await connection.execute(str(caught.value).partition("run: ")[2].encode())
        await roles.verify(connection)


async def test_prepare_makes_a_database_that_can_be_migrated(own_server: PostgresServer) -> None:
    await bootstrap.prepare(own_server.conninfo(), "appliance")
    await bootstrap.prepare(own_server.conninfo(), "appliance")
    async with await connect(
        Endpoint.local(own_server.socket_dir, own_server.port).conninfo(roles.OWNER)
    ) as connection:
        assert await migrate(connection, clock=SystemClock())


async def test_prepare_lets_only_the_roles_in(own_server: PostgresServer) -> None:
    await bootstrap.prepare(own_server.conninfo(), "closed")
    as_superuser(own_server, "DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        await connect(own_server.conninfo("closed", "stranger"))
    async with await connect(own_server.conninfo("closed", roles.WEB)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("CREATE TABLE mine (n int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("CREATE TEMPORARY TABLE mine (n int)")
    async with await connect(own_server.conninfo("closed", roles.INGEST)) as connection:
        await connection.execute("CREATE TEMPORARY TABLE staging (n int)")


async def test_nobody_writes_past_the_tables(own_server: PostgresServer) -> None:
    """Large objects have no policy, belong to no tenant, and stay when their transaction is forgotten."""
    await bootstrap.prepare(own_server.conninfo(), "closed")
    await bootstrap.prepare(own_server.conninfo(), "closed")
    for role in (roles.WEB, roles.INGEST, roles.OWNER):
        async with await connect(own_server.conninfo("closed", role)) as connection:
            for statement in (
                "SELECT lo_create(0)",
                "SELECT lo_creat(-1)",
                "SELECT lo_from_bytea(0, '\\x00')",
                "SELECT pg_logical_emit_message(false, 'a', 'b')",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(statement.encode())


async def test_a_server_of_our_own_has_no_other_database_for_the_roles(own_server: PostgresServer) -> None:
    await bootstrap.prepare_own(own_server.conninfo(), "appliance")
    try:
        for other in ("postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                await connect(own_server.conninfo(other, roles.WEB))
    finally:
        as_superuser(
            own_server,
            "GRANT CONNECT, TEMPORARY ON DATABASE postgres TO PUBLIC",
            "GRANT CONNECT ON DATABASE template1 TO PUBLIC",
        )


async def test_prepare_refuses_roles_that_were_changed(own_server: PostgresServer) -> None:
    await bootstrap.prepare(own_server.conninfo(), "appliance")
    as_superuser(own_server, "ALTER ROLE appliance_web BYPASSRLS")
    with pytest.raises(ApplianceError, match="ALTER ROLE appliance_web"):
        await bootstrap.prepare(own_server.conninfo(), "appliance")
    as_superuser(own_server, "ALTER ROLE appliance_web NOBYPASSRLS")


async def test_prepare_refuses_another_encoding(own_server: PostgresServer) -> None:
    as_superuser(own_server, "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    with pytest.raises(ApplianceError, match="encoded in SQL_ASCII"):
        await bootstrap.prepare(own_server.conninfo(), "ascii")


async def test_prepare_refuses_a_schema_open_to_all(own_server: PostgresServer) -> None:
    await bootstrap.prepare(own_server.conninfo(), "open_schema")
    as_superuser(own_server, "GRANT CREATE ON SCHEMA public TO PUBLIC", dbname="open_schema")
    with pytest.raises(ApplianceError, match="REVOKE CREATE ON SCHEMA public FROM PUBLIC"):
        await bootstrap.prepare(own_server.conninfo(), "open_schema")


async def test_an_external_login_with_the_roles_is_enough(own_server: PostgresServer) -> None:
    """As a database administrator would hand it out, once with the statements that the refusal names."""
    as_superuser(own_server, "DROP ROLE IF EXISTS tenant_login", "CREATE ROLE tenant_login LOGIN")
    await bootstrap.prepare(own_server.conninfo(), "appliance")  # makes the roles, as the administrator has
    external = own_server.conninfo("edge", "tenant_login")
    with pytest.raises(ApplianceError, match="login tenant_login may not prepare") as caught:
        await bootstrap.prepare(external, "edge")
    told = str(caught.value)
    assert 'GRANT appliance_owner, appliance_ingest, appliance_web, appliance_backup TO "tenant_login"' in told
    as_superuser(
        own_server,
        "GRANT appliance_owner, appliance_ingest, appliance_web, appliance_backup TO tenant_login",
        "CREATE DATABASE edge OWNER appliance_owner TEMPLATE template0 ENCODING 'UTF8'",
    )
    with capture_logs() as logs:
        await bootstrap.prepare(external, "edge")
    (warned,) = [line for line in logs if line["log_level"] == "warning"]
    as_superuser(own_server, warned["mend"].removeprefix("as a superuser run there: "), dbname="edge")
    with capture_logs() as logs:
        await bootstrap.prepare(external, "edge")
    assert [line for line in logs if line["log_level"] == "warning"] == [], "the mend helps"
    async with await connect(Endpoint.external(external).conninfo(roles.OWNER)) as connection:
        assert await migrate(connection, clock=SystemClock())


async def test_a_login_that_may_create_roles_and_databases_does_it_all(postgres_server: PostgresServer) -> None:
    """But for BYPASSRLS, which only a superuser gives before Postgres 16: the roles of this server exist."""
    as_superuser(postgres_server, "DROP ROLE IF EXISTS maker", "CREATE ROLE maker LOGIN CREATEROLE CREATEDB")
    await bootstrap.prepare(postgres_server.conninfo(), "edge_made_before")
    try:
        await bootstrap.prepare(postgres_server.conninfo("edge_made", "maker"), "edge_made")
        async with await connect(
            Endpoint.external(postgres_server.conninfo("edge_made", "maker")).conninfo(roles.OWNER)
        ) as connection:
            assert await migrate(connection, clock=SystemClock())
    finally:
        with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection_:
            for name in ("edge_made", "edge_made_before"):
                connection_.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
