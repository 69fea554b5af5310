"""The preparation of a database for migrations: the four roles, the database, and the right to connect to it.

The embedded Postgres is prepared as its superuser; an external one with the configured login, which must be able to
create what is missing and to set each of the four roles.
"""

from typing import Any

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from appliance.db import locks, roles, statements
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError

MINIMUM_VERSION = 15
"""Of Postgres: below, everybody may create tables in the schema ``public``."""

NEW_DATABASE = "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LC_COLLATE 'C'"
"""Text sorts as in a cluster of our own, by code point, which no release of the operating system changes."""

WRITERS = (
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "lowrite",
    "pg_logical_emit_message",
)
"""Functions that Postgres opens to everybody, and that write past all tables and policies: large objects, and the log
of changes. Nothing of ours uses them."""

STATEMENTS = statements.load("db")

log = structlog.get_logger(__name__)


async def prepare(admin_conninfo: str, dbname: str) -> None:
    """Create missing roles and the database, and check all of them. Changes nothing if everything exists.

    Safe from several processes at once. Raises ApplianceError with the correction if something cannot be done or is
    wrong; psycopg.OperationalError if the server cannot be reached.
    """
    # Explicitly, or a server in SQL_ASCII would answer in bytes.
    admin_conninfo = make_conninfo(admin_conninfo, client_encoding="UTF8")
    async with await enter(admin_conninfo) as connection:
        _check_version(connection)
        await connection.execute("SELECT pg_advisory_lock(%s)", [locks.BOOTSTRAP_LOCK])
        try:
            await _create(connection, dbname)
        except psycopg.errors.InsufficientPrivilege as error:
            raise ApplianceError(_dba(connection.info.user, dbname, error)) from error
        await roles.verify(connection)
    async with await connect(make_conninfo(admin_conninfo, dbname=dbname)) as connection:
        _check_encoding(connection, dbname)
        try:
            await _open_to_roles(connection, dbname)
            await _take_over(connection)
            await _close_writers(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise ApplianceError(_dba(connection.info.user, dbname, error)) from error
        await _check_schema(connection, dbname)


async def prepare_own(admin_conninfo: str, dbname: str) -> None:
    """Prepare the database of a server that is ours alone; its other databases are closed to the roles. As prepare."""
    await prepare(admin_conninfo, dbname)
    async with await connect(make_conninfo(admin_conninfo, client_encoding="UTF8")) as connection:
        for other in ("postgres", "template1"):  # as the server is made, everybody may make temporary tables there
            await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(other)))


async def enter(admin_conninfo: str) -> Connection[Any]:
    try:
        return await connect(admin_conninfo)
    except psycopg.errors.ConnectionTimeout:
        raise
    except psycopg.OperationalError as error:
        # The database may not exist yet; the server says so only in its own language.
        try:
            return await connect(make_conninfo(admin_conninfo, dbname="postgres"))
        except psycopg.OperationalError:
            raise error from None


def _check_version(connection: Connection[Any]) -> None:
    version = connection.info.server_version // 10000
    if version < MINIMUM_VERSION:
        raise ApplianceError(
            f"the database server is Postgres {version}; the appliance needs {MINIMUM_VERSION} or newer"
        )


async def _create(connection: Connection[Any], dbname: str) -> None:
    made = await roles.create_missing(connection)
    if made:
        log.info("database roles created", roles=made)
    for role in roles.ROLES:
        await _may_put_on(connection, role.name)
    cursor = await connection.execute(STATEMENTS["database_exists"], {"name": dbname})
    if await cursor.fetchone() is None:
        await connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} " + NEW_DATABASE).format(
                sql.Identifier(dbname), sql.Identifier(roles.OWNER)
            )
        )
        log.info("database created", name=dbname)


async def _may_put_on(connection: Connection[Any], role: str) -> None:
    name = sql.Identifier(role)
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(sql.SQL("SET LOCAL ROLE {}").format(name))
    except psycopg.errors.InsufficientPrivilege:
        await connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))


async def _open_to_roles(connection: Connection[Any], dbname: str) -> None:
    """Only the four roles may enter, and only ingest may make temporary tables (its staging table)."""
    database, owner = sql.Identifier(dbname), sql.Identifier(roles.OWNER)
    cursor = await connection.execute(STATEMENTS["database_owner"])
    if await cursor.fetchone() != (roles.OWNER,):
        await connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))
    enter = sql.SQL(", ").join(sql.Identifier(role.name) for role in roles.ROLES)
    async with connection.transaction():
        await connection.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
        await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        await connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}").format(database, enter, _login()))
        await connection.execute(
            sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(database, sql.Identifier(roles.INGEST))
        )


async def _close_writers(connection: Connection[Any]) -> None:
    """Take WRITERS from everybody, which only a superuser can; without one the log says what a superuser can run.

    The roles work without them, so that a server where nobody is a superuser is warned of and not refused.
    """
    names = {"names": list(WRITERS), "role": roles.WEB}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks.BOOTSTRAP_LOCK])
        cursor = await connection.execute(STATEMENTS["callable_functions"], names)
        found = [signature for (signature,) in await cursor.fetchall()]
        statement = f"REVOKE EXECUTE ON FUNCTION {', '.join(found)} FROM PUBLIC"
        if found and connection.info.parameter_status("is_superuser") == "on":
            await connection.execute(sql.SQL(statement))
        elif found:
            mend = f"as a superuser run there: {statement};"
            log.warning("roles may write past the tables of the database", mend=mend)


async def _take_over(connection: Connection[Any]) -> None:
    """Give the owner what is left of the platform before this one, so that migrations can read and replace it."""
    cursor = await connection.execute(STATEMENTS["old_tables"], {"owner": roles.OWNER})
    for (table,) in await cursor.fetchall():
        name, owner = sql.Identifier("public", table), sql.Identifier(roles.OWNER)
        await connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(name, owner))
        log.info("old table taken over", table=table)


def _login() -> sql.SQL:
    return sql.SQL("SESSION_USER")


def _check_encoding(connection: Connection[Any], dbname: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ApplianceError(
            f"the database {dbname} is encoded in {encoding}; the appliance needs UTF8: create it again, from template0"
        )


async def _check_schema(connection: Connection[Any], dbname: str) -> None:
    cursor = await connection.execute(
        STATEMENTS["who_may_create"], {"owner": roles.OWNER, "others": [roles.INGEST, roles.WEB, roles.BACKUP]}
    )
    if await cursor.fetchone() != (True, False):
        raise ApplianceError(
            f"in the database {dbname} only {roles.OWNER} may create tables; as a superuser run there: "
            f"ALTER SCHEMA public OWNER TO pg_database_owner; REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
        )


def _dba(login: str, dbname: str, error: psycopg.Error) -> str:
    """Return the statements that a superuser has to run once, if the configured login may not."""
    names = ", ".join(role.name for role in roles.ROLES)
    lines = [role.definition() for role in roles.ROLES]
    lines += [f'GRANT {names} TO "{login}"']
    lines += [f'CREATE DATABASE "{dbname}" OWNER {roles.OWNER} {NEW_DATABASE}']
    return (
        f"the login {login} may not prepare the database ({str(error).strip()});"
        f" as a superuser run what is missing of: {'; '.join(lines)};"
    )
