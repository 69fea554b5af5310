"""A row of ``alert_rules`` as a rule: the one place where the database's columns become the product's types."""

from typing import Any

from appliance.alerts.kinds.kind import KindName, Parameters
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.rules.rule import AlertRule, Scope
from appliance.errors import Invalid
from appliance.severity import Severity

COLUMNS = 18
"""Columns of a rule in each statement that reads rules, in the order of :class:`AlertRule`."""


def rule_of(row: tuple[Any, ...]) -> tuple[AlertRule, str | None]:
    """Return the rule of a row, and why its parameters cannot be read; None if they can."""
    tenant_id, rule_id, name, description, enabled, severity, kind, stored, *rest = row
    sites, tags, prefixes, devices, built_in, version, error, error_at, created_at, updated_at = rest
    parameters, unreadable = Parameters(), None
    try:
        parameters = KINDS[KindName(kind)].parse(stored)
    except Invalid as fault:
        unreadable = f"Its parameters cannot be read: {fault}"
        error, error_at = unreadable, error_at or updated_at
    rule = AlertRule(
        tenant_id=tenant_id,
        rule_id=rule_id,
        name=name,
        description=description,
        enabled=enabled,
        severity=Severity(severity),
        kind=KindName(kind),
        parameters=parameters,
        scope=Scope(tuple(sites), tuple(tags), tuple(prefixes), tuple(devices)),
        built_in=built_in,
        version=version,
        error=error,
        error_at=error_at,
        created_at=created_at,
        updated_at=updated_at,
    )
    return rule, unreadable
