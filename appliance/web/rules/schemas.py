"""The types of ``/customer/alert-rules``: its bodies and answers, and how they are made."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from appliance.alerts.kinds.comparison import Operator
from appliance.alerts.kinds.kind import KindName
from appliance.alerts.rules.store import MOST_COUNTED, TenantRule
from appliance.severity import Severity

Value = int | float | bool | str


class ScopeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The devices of a rule: those that any of the lists names; with all of them empty, every device."""

    site_ids: list[str] = []
    tags: list[str] = []
    device_prefixes: list[str] = []
    device_ids: list[str] = []


class ConditionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A further condition of a threshold, on the newest value of another metric of the same device."""

    metric: str
    operator: Operator
    value: Value
    max_age_seconds: Annotated[int, Meta(description="How old that value may be at the time of the reading.")]


class RuleParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of all kinds; each takes its own and refuses the others."""

    metric: Annotated[str | UnsetType | None, Meta(description="All kinds; `no_data`: optional.")] = UNSET
    operator: Annotated[Operator | UnsetType | None, Meta(description="`threshold` and `window`.")] = UNSET
    value: Annotated[
        Value | UnsetType | None, Meta(description="`threshold` and `window`. With EQ and NE also text and booleans.")
    ] = UNSET
    clear_value: Annotated[
        int | float | UnsetType | None,
        Meta(description="`threshold` and `window`: the alert closes only past this value."),
    ] = UNSET
    for_seconds: Annotated[
        int | UnsetType | None,
        Meta(description="`threshold` and `window`: the breach must last, by the readings' own times."),
    ] = UNSET
    for_count: Annotated[
        int | UnsetType | None, Meta(description="`threshold` and `window`: readings in a row that must breach.")
    ] = UNSET
    clear_for_seconds: Annotated[
        int | UnsetType | None, Meta(description="All but `no_data`: the way back must last, too.")
    ] = UNSET
    conditions: Annotated[
        list[ConditionBody] | UnsetType | None,
        Meta(description="`threshold`: up to three, which must hold as well."),
    ] = UNSET
    aggregate: Annotated[str | UnsetType | None, Meta(description="`window`: avg, min or max.")] = UNSET
    window_seconds: Annotated[int | UnsetType | None, Meta(description="`window`: up to 86400.")] = UNSET
    seconds: Annotated[
        int | UnsetType | None, Meta(description="`no_data`: the silence. The built-in rule goes without.")
    ] = UNSET
    to: Annotated[Value | UnsetType | None, Meta(description="`change`: only a change to this value counts.")] = UNSET


class RuleNew(RuleParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new rule: its parameters stand beside the other fields."""

    name: str
    severity: Severity
    kind: KindName
    description: str = ""
    enabled: bool = True
    scope: ScopeBody | None = None


class RuleChange(RuleParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The changes; omitted fields keep their values, null removes a parameter. Another kind drops all parameters."""

    name: str | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    kind: KindName | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    scope: ScopeBody | UnsetType | None = UNSET
    version: datetime | None = None


class RuleOut(RuleParameters, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A rule, with what it has opened. Parameters that are not set are left out."""

    tenant_id: str
    rule_id: UUID
    name: str
    description: str
    enabled: bool
    severity: Severity
    kind: KindName
    scope: ScopeBody
    built_in: Annotated[str | None, Meta(description="`NO_HEARTBEAT`: the rule that every tenant has.")]
    error: Annotated[str | None, Meta(description="Why the rule is skipped, until it is saved again.")]
    error_at: datetime | None
    error_count: Annotated[int, Meta(description="How often it was skipped because of its error.")]
    open_alerts: int
    opened_30_days: Annotated[int, Meta(description=f"Alerts opened in the last 30 days; {MOST_COUNTED} at most.")]
    last_opened_at: datetime | None
    created_at: datetime
    version: Annotated[datetime, Meta(description="Send it with a change; an outdated version is a conflict.")]


class RulePage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[RuleOut]
    next: str | None


def described_by(wanted: RuleNew | RuleChange) -> dict[str, Any]:
    """Return the flat object of a body: the fields that it names."""
    given: dict[str, Any] = msgspec.to_builtins(wanted)
    given.pop("version", None)
    return given


def shown(kept: TenantRule) -> RuleOut:
    """Return a rule as the API shows it. Of one that cannot be read, no parameters."""
    rule = kept.rule
    scope = ScopeBody(**{name: list(values) for name, values in msgspec.structs.asdict(rule.scope).items()})
    parameters = msgspec.convert(msgspec.to_builtins(rule.parameters), RuleParameters)
    return RuleOut(
        **msgspec.structs.asdict(parameters),
        tenant_id=rule.tenant_id,
        rule_id=rule.rule_id,
        name=rule.name,
        description=rule.description,
        enabled=rule.enabled,
        severity=rule.severity,
        kind=rule.kind,
        scope=scope,
        built_in=rule.built_in,
        error=rule.error,
        error_at=rule.error_at,
        error_count=kept.error_count,
        open_alerts=kept.open_alerts,
        opened_30_days=kept.opened,
        last_opened_at=kept.last_opened_at,
        created_at=rule.created_at,
        version=kept.version,
    )
