"""The rules that a timer judges: those of the kind ``no_data`` that are in force."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog

from appliance.alerts.alert import AlertType
from appliance.alerts.kinds.no_data import parse
from appliance.alerts.rules.rule import Scope
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.errors import Invalid

STATEMENTS = statements.load("alert_silence")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """A rule about silence, as far as it decides."""

    tenant_id: str
    rule_id: UUID
    version: int
    alert_type: AlertType
    metric: str | None
    """None: any message ends the silence."""
    seconds: float | None
    """None: a device is silent when it is OFFLINE."""
    changed_at: datetime
    """When a person changed it last, its name included."""
    scope: Scope

    def fingerprint(self, device_id: str) -> str:
        """Return what an alert of this rule about the device is known by."""
        return f"rule:{self.rule_id}:{device_id}"


RulesOfTenants = Mapping[str, Sequence[SilenceRule]]
"""By tenant, in order of tenants."""


async def load(connection: Connection[Any]) -> RulesOfTenants:
    """Return the rules in force. One that cannot be read is left out and logged."""
    cursor = await connection.execute(STATEMENTS["list_rules"])
    rules = filter(None, map(_rule, await cursor.fetchall()))
    return {tenant_id: tuple(group) for tenant_id, group in groupby(rules, key=lambda rule: rule.tenant_id)}


def _rule(row: tuple[Any, ...]) -> SilenceRule | None:
    tenant_id, rule_id, version, built_in, given, changed_at, *scope = row
    try:
        parameters = parse(given)
    except Invalid as error:
        log.debug("a rule about silence that cannot be read", tenant=tenant_id, rule=str(rule_id), error=str(error))
        return None
    if parameters.metric is not None and parameters.seconds is None:
        return None  # presence knows of no metric
    alert_type = AlertType.NO_DATA if built_in is None else AlertType.NO_HEARTBEAT
    return SilenceRule(
        tenant_id,
        rule_id,
        version,
        alert_type,
        parameters.metric,
        parameters.seconds,
        changed_at,
        Scope(*map(tuple, scope)),
    )


def shortest(rules: Iterable[SilenceRule]) -> dict[str | None, float]:
    """Return the shortest silence that is asked, in seconds, by metric; None is any message.

    A rule that goes by presence asks for no seconds: every OFFLINE device is looked at.
    """
    found: dict[str | None, float] = {}
    for rule in rules:
        seconds = float("inf") if rule.seconds is None else rule.seconds
        found[rule.metric] = min(seconds, found.get(rule.metric, seconds))
    return found
