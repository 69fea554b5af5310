"""The list of alert rules as a CSV file."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from quart import Response

from appliance.alerts.rules import store
from appliance.alerts.rules.store import RulePosition, TenantRule
from appliance.db.trio_psycopg import Connection
from appliance.devices.metrics import store as metric_store
from appliance.devices.metrics.metric import Metric
from appliance.web.access.auth import viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.page import csv
from appliance.web.rules import labels
from appliance.web.rules.actions import RuleActions, RuleQuery, filter_of

HEADS = (
    "tenant_id", "rule_id", "name", "description", "enabled", "severity", "kind", "opens", "clears", "parameters",
    "site_ids", "tags", "device_prefixes", "device_ids", "open_alerts", "opened_30_days", "last_opened_at", "error",
)  # fmt: skip


def answer(rules: RuleActions, asked: RuleQuery) -> Response:
    """Return the download of the rules that match, of the tenants that the viewer sees."""
    wanted, now = filter_of(asked, tenants_shown()), rules.platform.access.now()

    async def read(connection: Connection[Any], after: RulePosition | None) -> csv.Page[RulePosition]:
        page = await store.list_page(connection, wanted, now=now, limit=csv.PAGE_ROWS, sort=asked.sort, after=after)
        metrics = await metrics_of(connection, page)
        cells = [_cells(kept, metrics[kept.tenant_id]) for kept in page]
        return cells, csv.next_position(page, lambda kept: kept.position)

    return csv.list_answer(rules.platform, viewer(), "alert-rules", HEADS, read)


async def metrics_of(connection: Connection[Any], rules: Sequence[TenantRule]) -> dict[str, dict[str, Metric]]:
    """Return the metrics that the rules name, as people described them, by tenant."""
    named: dict[str, set[str]] = {kept.tenant_id: set() for kept in rules}
    for kept in rules:
        named[kept.tenant_id] |= labels.metrics_of(kept.rule.parameters)
    return {tenant_id: await metric_store.of_names(connection, tenant_id, names) for tenant_id, names in named.items()}


def _cells(kept: TenantRule, metrics: Mapping[str, Metric]) -> tuple[Any, ...]:
    rule = kept.rule
    return (
        rule.tenant_id,
        rule.rule_id,
        rule.name,
        rule.description,
        rule.enabled,
        rule.severity,
        rule.kind,
        labels.limit(rule.parameters, metrics),
        labels.clears(rule.parameters, metrics),
        msgspec.json.encode(kept.stored).decode(),
        rule.scope.site_ids,
        rule.scope.tags,
        rule.scope.device_prefixes,
        rule.scope.device_ids,
        kept.open_alerts,
        kept.opened,
        kept.last_opened_at,
        rule.error,
    )
