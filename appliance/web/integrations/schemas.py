"""The types of ``/customer/integrations``: its bodies and answers, and how they are made."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from appliance.delivery.integrations.drafts import CONCURRENCY, IntegrationDraft
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.integrations.store import IntegrationFilter, KnownIntegration
from appliance.delivery.senders.sender import Verdict
from appliance.delivery.senders.table import SENDERS
from appliance.errors import Invalid
from appliance.web.integrations.actions import Made, Tested, edited_config


def _fields(*, secret: bool) -> str:
    """Return the fields of every type, for the description of the API."""
    named = {kind: [one.name for one in sender.fields if one.secret is secret] for kind, sender in SENDERS.items()}
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in named.items() if names) + "."


class IntegrationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which integrations."""

    q: Annotated[str, Meta(max_length=200, description="Words in the name.")] = ""
    type: Annotated[tuple[str, ...], Meta(description="Any of these.")] = ()
    enabled: bool | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class IntegrationNew(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new integration. What belongs into ``config`` and ``secrets`` depends on its type."""

    name: str
    type: Annotated[str, Meta(description=f"One of {', '.join(SENDERS)}.")]
    config: Annotated[dict[str, Any], Meta(description=_fields(secret=False))] = {}
    secrets: Annotated[
        dict[str, str], Meta(description=f"Kept encrypted and never shown again. {_fields(secret=True)}")
    ] = {}
    enabled: bool = True
    concurrency: Annotated[int, Meta(description="Deliveries at a time, from 1 to 16.")] = CONCURRENCY


class IntegrationChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The changes; omitted fields keep their values. The type stays: another one is another integration."""

    name: str | UnsetType = UNSET
    config: Annotated[
        dict[str, Any] | UnsetType, Meta(description="Field by field; null removes one, an omitted one stays.")
    ] = UNSET
    secrets: Annotated[
        dict[str, str | None] | UnsetType,
        Meta(description="Field by field: null removes one, or creates a new `signing_secret`; an omitted one stays."),
    ] = UNSET
    enabled: bool | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET
    version: int | None = None


class IntegrationOut(msgspec.Struct, frozen=True, kw_only=True):
    """An integration, with how deliveries to it go."""

    tenant_id: str
    integration_id: UUID
    name: str
    type: str
    enabled: bool
    disabled_reason: Annotated[
        str | None, Meta(description="Why the appliance disabled it: `gone` after the answer 410.")
    ]
    config: dict[str, Any]
    secrets: Annotated[list[str], Meta(description="The names of those that are set.")]
    concurrency: int
    routes: Annotated[int, Meta(description="How many routes lead to it.")]
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None
    failing_since: datetime | None
    unreachable_since: Annotated[datetime | None, Meta(description="Since when tries reach nobody.")]
    created_at: datetime
    updated_at: datetime
    version: Annotated[int, Meta(description="Send it with a change; an outdated version is a conflict.")]
    signing_secret: Annotated[
        str | UnsetType,
        Meta(description="Of a webhook, where the appliance has just made it: this once, and never again."),
    ] = UNSET
    warnings: Annotated[
        list[str] | UnsetType,
        Meta(description="After a change, what may be wrong: a name that cannot be resolved now."),
    ] = UNSET


class IntegrationPage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[IntegrationOut]
    next: str | None


class TestOut(msgspec.Struct, frozen=True, kw_only=True):
    """How a sample went."""

    delivered: bool
    outcome: Verdict
    status: Annotated[int | None, Meta(description="HTTP status, or the reply code of a mail server.")]
    error: str | None
    answer: Annotated[str, Meta(description="The first 2 KiB.")]
    address: Annotated[str | None, Meta(description="The IP address that was dialled.")]
    latency_ms: int
    timings_ms: Annotated[dict[str, int], Meta(description="By step.")]
    request: Annotated[str, Meta(description="What was sent, secrets masked.")]
    answered_at: Annotated[datetime | None, Meta(description="The time that the receiver's clock shows.")]
    hint: Annotated[str | None, Meta(description="What else may be wrong, such as a clock.")]


def filter_of(asked: IntegrationQuery, tenant_id: str | None) -> IntegrationFilter:
    """Return the filter of a query. Raises Invalid for text that Postgres cannot compare."""
    if "\0" in asked.q or any("\0" in kind for kind in asked.type):
        raise Invalid("This holds characters that cannot be shown.", "q")
    return IntegrationFilter(tenant_id, asked.type, asked.enabled, asked.q)


def draft_of(new: IntegrationNew) -> IntegrationDraft:
    """Return a new integration as the domain takes it."""
    config = edited_config({}, new.config)
    return IntegrationDraft(new.name, config, dict(new.secrets), new.enabled, new.concurrency)


def edited(kept: Integration, wanted: IntegrationChange) -> IntegrationDraft:
    """Return an integration with the changes."""
    return IntegrationDraft(
        name=kept.name if wanted.name is UNSET else wanted.name,
        config=edited_config(dict(kept.config), {} if wanted.config is UNSET else wanted.config),
        secrets={} if wanted.secrets is UNSET else wanted.secrets,
        enabled=kept.enabled if wanted.enabled is UNSET else wanted.enabled,
        concurrency=kept.concurrency if wanted.concurrency is UNSET else wanted.concurrency,
    )


def shown(known: KnownIntegration) -> IntegrationOut:
    """Return an integration as the API shows it."""
    kept = known.integration
    return IntegrationOut(
        tenant_id=kept.tenant_id,
        integration_id=kept.integration_id,
        name=kept.name,
        type=kept.type,
        enabled=kept.enabled,
        disabled_reason=kept.disabled_reason,
        config=dict(kept.config),
        secrets=sorted(kept.secrets),
        concurrency=kept.concurrency,
        routes=known.routes,
        last_success_at=known.last_success_at,
        last_failure_at=known.last_failure_at,
        last_error=known.last_error,
        failing_since=known.failing_since,
        unreachable_since=known.unreachable_since,
        created_at=kept.created_at,
        updated_at=kept.updated_at,
        version=kept.version,
    )


def shown_once(made: Made) -> IntegrationOut:
    """Return an integration that was just written, with the secret that the appliance made, and what may be wrong."""
    warnings = list(made.warnings) or UNSET
    secret = made.secrets.get("signing_secret", UNSET)
    return msgspec.structs.replace(shown(made.known), signing_secret=secret, warnings=warnings)


def tested(found: Tested) -> TestOut:
    """Return how a sample went."""
    outcome = found.outcome
    return TestOut(
        delivered=outcome.verdict is Verdict.DELIVERED,
        outcome=outcome.verdict,
        status=outcome.status,
        error=outcome.error,
        answer=outcome.answer.decode(errors="replace"),
        address=outcome.address,
        latency_ms=round(1000 * outcome.latency),
        timings_ms={step: round(1000 * seconds) for step, seconds in outcome.timings.items()},
        request=outcome.request,
        answered_at=outcome.answered_at,
        hint=found.hint,
    )
