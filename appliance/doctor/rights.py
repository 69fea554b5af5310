"""Checks of roles, their rights, and the walls between tenants."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.db import roles, statements
from appliance.doctor.check import Finding, Sight, broken

STATEMENTS = statements.load("doctor")


async def look_at_roles(sight: Sight) -> Sequence[str]:
    """Return the statements that correct the four roles."""
    return await roles.corrections(sight.database)


def judge_roles(corrections: Sequence[str]) -> Iterable[Finding]:
    """Judge the attributes and memberships of the four roles."""
    if corrections:
        yield broken(
            "the roles of the database are not as the appliance needs them",
            f"as a superuser: {'; '.join(corrections)};",
        )


@dataclass(frozen=True, slots=True)
class Right:
    """A right that a role has and must not have, or must have and has not."""

    role: str
    right: str
    object: str
    wanted: bool


async def look_at_rights(sight: Sight) -> Sequence[Right]:
    """Return the rights that are not as they should be."""
    cursor = await sight.database.execute(STATEMENTS["wrong_rights"])
    return [Right(*row) for row in await cursor.fetchall()]


def judge_rights(wrong: Sequence[Right]) -> Iterable[Finding]:
    """Judge the rights of the roles: none but the wrong ones are handed in."""
    for each in wrong:
        statement = "GRANT {} ON {} TO {};" if each.wanted else "REVOKE {} ON {} FROM {};"
        verb = "lacks" if each.wanted else "has"
        yield broken(
            f"{each.role} {verb} the right {each.right} on {each.object}",
            "as a superuser: " + statement.format(each.right, each.object, each.role),
        )


@dataclass(frozen=True, slots=True)
class Walled:
    """A table with rows of tenants."""

    table: str
    enabled: bool
    forced: bool
    open_to: str | None
    """The policy that shows rows of other tenants to the role of customers."""


async def look_at_walls(sight: Sight) -> Sequence[Walled]:
    """Return the tables with rows of tenants, partitions too."""
    cursor = await sight.database.execute(STATEMENTS["walls"])
    return [Walled(*row) for row in await cursor.fetchall()]


def judge_walls(tables: Sequence[Walled]) -> Iterable[Finding]:
    """Judge whether Postgres itself keeps tenants apart in every table that has rows of theirs."""
    for each in tables:
        if not each.enabled or not each.forced:
            missing = "ENABLE" if not each.enabled else "FORCE"
            state = "enabled" if not each.enabled else "forced"
            yield broken(
                f"row-level security is not {state} on {each.table}",
                f"as {roles.OWNER}: ALTER TABLE {each.table} {missing} ROW LEVEL SECURITY;",
            )
        if each.open_to is not None:
            yield broken(
                f"the policy {each.open_to} of {each.table} shows rows of other tenants to {roles.WEB}",
                f"as {roles.OWNER}: DROP POLICY {each.open_to} ON {each.table};",
            )
