"""The four roles of the database, and the check that they have no more rights than intended.

``appliance_owner`` owns and migrates; ``appliance_ingest`` writes the data of all tenants (COPY is refused under
row-level security, hence BYPASSRLS); ``appliance_web`` answers customers, under row-level security always;
``appliance_backup`` reads everything (pg_dump refuses a table that a policy would filter, hence BYPASSRLS).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError

OWNER = "appliance_owner"
INGEST = "appliance_ingest"
WEB = "appliance_web"
BACKUP = "appliance_backup"

# The attributes of pg_roles in words of CREATE ROLE; what a role must not have reads NO...
ATTRIBUTES = {
    "rolcanlogin": "LOGIN",
    "rolsuper": "SUPERUSER",
    "rolcreatedb": "CREATEDB",
    "rolcreaterole": "CREATEROLE",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}

STATEMENTS = statements.load("db")


@dataclass(frozen=True, slots=True)
class Role:
    """A role, and whether it bypasses row-level security."""

    name: str
    bypass_rls: bool

    def options(self) -> Iterator[str]:
        """Return its attributes as words of CREATE ROLE and ALTER ROLE."""
        wanted = {"LOGIN"} | ({"BYPASSRLS"} if self.bypass_rls else set())
        for word in ATTRIBUTES.values():
            yield word if word in wanted else f"NO{word}"

    def definition(self, verb: str = "CREATE") -> str:
        """Return the statement that creates it, or with ``ALTER`` the one that corrects it."""
        return f"{verb} ROLE {self.name} {' '.join(self.options())}"


ROLES = (Role(OWNER, bypass_rls=False), Role(INGEST, bypass_rls=True), Role(WEB, False), Role(BACKUP, bypass_rls=True))


async def create_missing(connection: Connection[Any]) -> list[str]:
    """Create missing roles, and return their names. Existing ones are left as they are."""
    cursor = await connection.execute(STATEMENTS["existing_roles"], {"names": [role.name for role in ROLES]})
    existing = {name for (name,) in await cursor.fetchall()}
    missing = [role for role in ROLES if role.name not in existing]
    for role in missing:
        await connection.execute(sql.SQL(role.definition()))
    return [role.name for role in missing]


async def verify(connection: Connection[Any]) -> None:
    """Check attributes and memberships of the four roles. Raises ApplianceError with the correcting statements."""
    if mends := await corrections(connection):
        raise ApplianceError(
            "the database roles are not as the appliance needs them; as a superuser run: " + "; ".join(mends) + ";"
        )


async def corrections(connection: Connection[Any]) -> list[str]:
    """Return the statements that correct attributes and memberships of the four roles; none if they are right."""
    names = [role.name for role in ROLES]
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(STATEMENTS["role_attributes"], {"names": names})
        found = {row["rolname"]: row for row in await cursor.fetchall()}
        await cursor.execute(STATEMENTS["role_memberships"], {"names": names})
        memberships = [(row["role"], row["member"]) for row in await cursor.fetchall()]
    mends = []
    for role in ROLES:
        attributes = found.get(role.name)
        if attributes is None:
            mends.append(role.definition())
        elif any((word in role.options()) != attributes[column] for column, word in ATTRIBUTES.items()):
            mends.append(role.definition("ALTER"))
    mends += [f"REVOKE {role} FROM {member}" for role, member in memberships]
    return mends
