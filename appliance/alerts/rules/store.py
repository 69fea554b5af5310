"""Rules in the database, as people make, see, change and delete them.

Enters: a connection, and a :class:`RuleDraft`, which is valid. Leaves: :class:`TenantRule`. A change has its audit row
in the same transaction; the role may be ``appliance_web`` with its tenant set. Never: the end of the alerts of a
changed rule, which triggers see to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from psycopg import errors

from appliance.alerts.actions import bounded
from appliance.alerts.kinds.kind import KindName
from appliance.alerts.rules.rows import COLUMNS, rule_of
from appliance.alerts.rules.rule import AlertRule, Scope
from appliance.alerts.rules.validation import RuleDraft, flat
from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.locks import lock_key, lock_until_commit
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.devices.seats.changes import check_tenant
from appliance.errors import Conflict, Invalid, Outdated
from appliance.severity import Severity

STATEMENTS = statements.load("alert_rules")

MAX_RULES = 10_000
"""Rules of one tenant: each is prepared for each of its devices."""
RECENT = timedelta(days=30)
"""The time for which a list counts the alerts that a rule opened."""
MOST_COUNTED = 1000
"""Alerts that a list counts of one rule; more are shown as so many or more."""
STATEMENT_TIMEOUT_MS = 10_000
"""For each statement of a change: it closes the open alerts of the rule, of thousands of devices maybe."""
MAX_WORDS = 8
"""Words of a search that count."""


class Sort(StrEnum):
    """The order of a list."""

    SEVERITY = "severity"
    """Worst first, then by name."""
    NAME = "name"


@dataclass(frozen=True, slots=True)
class RuleFilter:
    """A filter of rules: each field narrows the choice; one of several values is enough. Empty matches all."""

    tenant_id: str | None = None
    """None: of all tenants, for operators."""
    enabled: bool | None = None
    failing: bool = False
    """Only those that raised an error since their last change."""
    severities: Sequence[Severity] = ()
    kinds: Sequence[KindName] = ()
    search: str = ""
    """Words that must all occur in the name, the description, the metric, or what the scope lists."""


class RulePosition(NamedTuple):
    """A position in a sorted list, after one rule."""

    rank: int
    name: str
    tenant_id: str
    rule_id: UUID


@dataclass(frozen=True, slots=True)
class TenantRule:
    """A rule as people see it, with what it has opened."""

    rule: AlertRule
    """If its parameters cannot be read any more, they name no metric, and ``error`` says why."""
    stored: Mapping[str, Any] = field(hash=False)
    """Its parameters as they are stored."""
    error_count: int
    """How often it was skipped because of its error."""
    open_alerts: int
    opened: int
    """Alerts opened within RECENT, MOST_COUNTED at most."""
    last_opened_at: datetime | None
    position: RulePosition

    def flat(self) -> dict[str, Any]:
        """Return the rule as one flat object, its parameters as they are stored."""
        return {**flat(self.rule), **self.stored}

    @property
    def tenant_id(self) -> str:
        """Return the tenant of the rule."""
        return self.rule.tenant_id

    @property
    def version(self) -> datetime:
        """Return when it was last changed; an edit names the version it started from."""
        return self.rule.updated_at


@dataclass(frozen=True, slots=True)
class RuleCounts:
    """The numbers of rules."""

    by_kind: Mapping[KindName, int]
    failing: int

    @property
    def total(self) -> int:
        """Return the number of all rules."""
        return sum(self.by_kind.values())


async def list_page(
    connection: Connection[Any],
    wanted: RuleFilter,
    *,
    now: datetime,
    limit: int,
    sort: Sort = Sort.SEVERITY,
    after: RulePosition | None = None,
) -> list[TenantRule]:
    """Return the rules that match, in order, after the position ``after``."""
    return await _select(connection, wanted, now, limit=limit, sort=sort, after=after)


async def get(connection: Connection[Any], tenant_id: str, rule_id: UUID, *, now: datetime) -> TenantRule:
    """Return one rule. Raises NotFound, also for a deleted one."""
    found = await _select(connection, RuleFilter(tenant_id), now, limit=1, rule_id=rule_id)
    return require(found[0] if found else None, f"rule {rule_id}")


async def counts(connection: Connection[Any], tenant_id: str | None) -> RuleCounts:
    """Return the numbers of rules of a tenant, or of all for None."""
    cursor = await connection.execute(STATEMENTS["count_rules"], {"tenant": tenant_id})
    rows = await cursor.fetchall()
    return RuleCounts({KindName(kind): count for kind, count, _ in rows}, sum(failing for _, _, failing in rows))


async def covered(connection: Connection[Any], rules: Iterable[AlertRule]) -> dict[UUID, int]:
    """Return the number of ACTIVE devices that each rule is about."""
    wanted = [rule.rule_id for rule in rules]
    cursor = await connection.execute(STATEMENTS["count_covered"], {"rules": wanted})
    return {rule_id: count for _, rule_id, count in await cursor.fetchall()}


async def create(connection: Connection[Any], tenant_id: str, draft: RuleDraft, context: ChangeContext) -> TenantRule:
    """Make a rule. Raises Conflict if the name is taken; Invalid past MAX_RULES; NotFound for the tenant; Busy."""
    async with connection.transaction(), bounded(connection, STATEMENT_TIMEOUT_MS):
        await check_tenant(connection, tenant_id)
        await lock_until_commit(connection, [lock_key("alert_rules", tenant_id)])
        cursor = await connection.execute(STATEMENTS["count_of_tenant"], {"tenant": tenant_id})
        row = await cursor.fetchone()
        if row and row[0] >= MAX_RULES:
            raise Invalid(f"There are {MAX_RULES:,} rules already, and no more are possible; delete one first.")
        rule_id = await _insert(connection, _parameters(tenant_id, draft, context))
        made = await get(connection, tenant_id, rule_id, now=context.now)
        await record(connection, _entry(context, "create", made.rule, None, _audited(made.flat())), now=context.now)
    return made


async def change(
    connection: Connection[Any],
    tenant_id: str,
    rule_id: UUID,
    draft: RuleDraft,
    context: ChangeContext,
    *,
    version: datetime | None = None,
) -> TenantRule:
    """Replace a rule. One that raised an error is tried again, even if nothing else changed.

    Raises NotFound; Conflict if the name is taken or somebody else has changed it since ``version``; Invalid if the
    built-in rule is to be of another kind; Busy if somebody else holds the rule or one of its alerts.
    """
    async with connection.transaction(), bounded(connection, STATEMENT_TIMEOUT_MS):
        before = await _locked(connection, tenant_id, rule_id, context.now)
        if version is not None and version != before.version:
            raise Outdated(f"Rule {before.rule.name} was changed by someone else; read it again.")
        if before.rule.built_in is not None and draft.kind is not before.rule.kind:
            raise Invalid("`kind`: the built-in rule keeps its kind; make a rule of your own instead.", "kind")
        old, new = _audited(before.flat()), _audited(flat(draft))
        if old == new and before.rule.error is None:
            return before
        await _update(connection, {**_parameters(tenant_id, draft, context), "rule": rule_id})
        fields = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        sides = [{name: side.get(name) for name in fields} for side in (old, new)]
        if fields == ["enabled"]:
            entry = _entry(context, "enable" if draft.enabled else "disable", before.rule, *sides)
        else:
            entry = _entry(context, "update", before.rule, *sides)
        await record(connection, entry, now=context.now)
        return await get(connection, tenant_id, rule_id, now=context.now)


async def set_enabled(
    connection: Connection[Any], tenant_id: str, rule_id: UUID, *, enabled: bool, context: ChangeContext
) -> TenantRule:
    """Switch a rule on or off, whatever its parameters are. Raises NotFound; Busy."""
    async with connection.transaction(), bounded(connection, STATEMENT_TIMEOUT_MS):
        before = await _locked(connection, tenant_id, rule_id, context.now)
        if before.rule.enabled is enabled:
            return before
        parameters = {"tenant": tenant_id, "rule": rule_id, "enabled": enabled, "now": context.now}
        cursor = await connection.execute(STATEMENTS["enable_rule"], parameters)
        require_rows(cursor.rowcount, f"rule {rule_id}")
        entry = _entry(
            context, "enable" if enabled else "disable", before.rule, {"enabled": not enabled}, {"enabled": enabled}
        )
        await record(connection, entry, now=context.now)
        return await get(connection, tenant_id, rule_id, now=context.now)


async def delete(connection: Connection[Any], tenant_id: str, rule_id: UUID, context: ChangeContext) -> None:
    """Mark a rule as deleted; its alerts keep it. Raises NotFound; Conflict for the built-in one; Busy."""
    async with connection.transaction(), bounded(connection, STATEMENT_TIMEOUT_MS):
        before = await _locked(connection, tenant_id, rule_id, context.now)
        if before.rule.built_in is not None:
            raise Conflict("The built-in rule cannot be deleted; disable it instead.")
        parameters = {"tenant": tenant_id, "rule": rule_id, "now": context.now}
        cursor = await connection.execute(STATEMENTS["delete_rule"], parameters)
        require_rows(cursor.rowcount, f"rule {rule_id}")
        await record(connection, _entry(context, "delete", before.rule, _audited(before.flat()), None), now=context.now)


async def _select(
    connection: Connection[Any],
    wanted: RuleFilter,
    now: datetime,
    *,
    limit: int,
    rule_id: UUID | None = None,
    sort: Sort = Sort.NAME,
    after: RulePosition | None = None,
) -> list[TenantRule]:
    parameters = {
        "tenant": wanted.tenant_id,
        "rule": rule_id,
        "enabled": wanted.enabled,
        "failing": wanted.failing,
        "severities": [severity.value for severity in wanted.severities],
        "kinds": [kind.value for kind in wanted.kinds],
        "words": wanted.search.lower().split()[:MAX_WORDS],
        "by_severity": sort is Sort.SEVERITY,
        "since": now - RECENT,
        "most": MOST_COUNTED,
        "limit": limit,
        **{f"after_{name}": None for name in ("rank", "name", "tenant", "rule")},
    }
    if after is not None:
        parameters |= {"after_rank": after.rank, "after_name": after.name}
        parameters |= {"after_tenant": after.tenant_id, "after_rule": after.rule_id}
    cursor = await connection.execute(STATEMENTS["list_rules"], parameters, prepare=False)
    return [_tenant_rule(row) for row in await cursor.fetchall()]


async def _locked(connection: Connection[Any], tenant_id: str, rule_id: UUID, now: datetime) -> TenantRule:
    cursor = await connection.execute(STATEMENTS["lock_rule"], {"tenant": tenant_id, "rule": rule_id})
    require(await cursor.fetchone(), f"rule {rule_id}")
    return await get(connection, tenant_id, rule_id, now=now)


async def _insert(connection: Connection[Any], parameters: Mapping[str, Any]) -> UUID:
    try:
        async with connection.transaction():
            cursor = await connection.execute(STATEMENTS["insert_rule"], parameters)
            row = require(await cursor.fetchone(), "new rule")
    except errors.UniqueViolation:
        raise _taken(parameters) from None
    rule_id: UUID = row[0]
    return rule_id


async def _update(connection: Connection[Any], parameters: Mapping[str, Any]) -> None:
    try:
        async with connection.transaction():
            cursor = await connection.execute(STATEMENTS["update_rule"], parameters)
    except errors.UniqueViolation:
        raise _taken(parameters) from None
    require_rows(cursor.rowcount, f"rule {parameters['rule']}")


def _taken(parameters: Mapping[str, Any]) -> Conflict:
    return Conflict(f"There is a rule called {parameters['name']} already; choose another name.")


def _parameters(tenant_id: str, draft: RuleDraft, context: ChangeContext) -> dict[str, Any]:
    return {
        "tenant": tenant_id,
        "name": draft.name,
        "description": draft.description,
        "enabled": draft.enabled,
        "severity": draft.severity.value,
        "kind": draft.kind.value,
        "parameters": msgspec.json.encode(draft.parameters).decode(),
        **_lists(draft.scope),
        "now": context.now,
    }


def _lists(scope: Scope) -> dict[str, list[str]]:
    return {name: list(values) for name, values in msgspec.structs.asdict(scope).items()}


def _entry(
    context: ChangeContext,
    verb: str,
    rule: AlertRule,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Entry:
    return Entry(context.actor, f"rule.{verb}", "rule", str(rule.rule_id), rule.tenant_id, before, after)


def _audited(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a flat rule as the audit shows them: those that are set."""
    fields = {**described, **described["scope"]}
    del fields["scope"]
    if "conditions" in fields:
        fields["conditions"] = list(map(_condition, fields["conditions"]))
    return {name: value for name, value in fields.items() if value not in ("", [])}


def _condition(condition: Any) -> str:
    try:
        return "{metric} {operator} {value}, at most {max_age_seconds} s old".format_map(condition)
    except (KeyError, TypeError):  # of a rule that cannot be read any more
        return str(condition)


def _tenant_rule(row: tuple[Any, ...]) -> TenantRule:
    rule, _ = rule_of(row[:COLUMNS])
    rank, sort_name, error_count, open_alerts, opened, last_opened_at = row[COLUMNS:]
    position = RulePosition(rank, sort_name, rule.tenant_id, rule.rule_id)
    return TenantRule(rule, row[7], error_count, open_alerts, opened, last_opened_at, position)
