"""The rules in force, for whoever evaluates them: enabled, not deleted, and without an error.

Enters: a connection of a role that sees all tenants. Leaves: rules, and the error of those that cannot be read.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from appliance.alerts.rules.rows import rule_of
from appliance.alerts.rules.rule import AlertRule
from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("alert_rules")

MAX_ERROR = 500
"""Characters of an error that are kept."""


class RuleKey(NamedTuple):
    """Which rule, in which of its versions."""

    tenant_id: str
    rule_id: UUID
    version: int


class LoadedRules(NamedTuple):
    """The rules in force, and those whose parameters cannot be read, with the reason."""

    rules: list[AlertRule]
    unreadable: list[tuple[RuleKey, str]]


async def load_rules(connection: Connection[Any]) -> LoadedRules:
    """Return all rules in force."""
    return await _load(connection, None)


async def load_rules_of(connection: Connection[Any], tenant_ids: Iterable[str]) -> LoadedRules:
    """Return the rules in force of some tenants."""
    return await _load(connection, sorted(set(tenant_ids)))


async def mark_error(
    connection: Connection[Any],
    tenant_id: str,
    rule_id: UUID,
    version: int,
    error: str,
    now: datetime,
    *,
    times: int = 1,
) -> None:
    """Mark a rule with the error that it raised, ``times`` more. A rule that has changed since is not marked."""
    parameters = {
        "tenant": tenant_id,
        "rule": rule_id,
        "version": version,
        "error": error.replace("\0", "")[:MAX_ERROR] or "Unknown error",
        "now": now,
        "times": times,
    }
    await connection.execute(STATEMENTS["mark_error"], parameters)


async def _load(connection: Connection[Any], tenant_ids: Sequence[str] | None) -> LoadedRules:
    cursor = await connection.execute(STATEMENTS["load_rules"], {"tenants": tenant_ids})
    loaded = LoadedRules([], [])
    for row in await cursor.fetchall():
        rule, error = rule_of(row)
        if error is None:
            loaded.rules.append(rule)
        else:
            loaded.unreadable.append((RuleKey(rule.tenant_id, rule.rule_id, rule.version), error))
    return loaded
