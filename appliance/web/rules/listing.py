"""The list of rules: searched, filtered, switched on and off, deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from quart import Blueprint, Response

from appliance.alerts.rules import store
from appliance.alerts.rules.store import RuleFilter, TenantRule
from appliance.db.trio_psycopg import Connection
from appliance.devices import sites as site_store
from appliance.devices.metrics.metric import Metric
from appliance.web.access.auth import ADMINS, READERS, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.openapi.describe import query
from appliance.web.page import csv, forms
from appliance.web.page.address import Address
from appliance.web.page.confirmation import name_fault
from appliance.web.page.faults import Fault
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.rules import export, labels
from appliance.web.rules.actions import RuleActions, RuleQuery
from appliance.web.rules.editor import PATH
from appliance.web.rules.editor_form import SEVERITIES
from appliance.web.rules.labels import KINDS

DONE = {
    "created": "The rule is saved and watches its devices.",
    "saved": "The rule is saved.",
    "deleted": "The rule is deleted.",
    "on": "The rule is on.",
    "off": "The rule is off. Its open alerts are closed.",
}
STATES = (("true", "On"), ("false", "Off"))
SORTS = (("name", "By name"),)
FAILING_NAMED = 3
"""Rules with an error that the page names; more are counted."""


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule in the list."""

    kept: TenantRule
    href: str
    toggle: str
    glyph: str
    severity: str
    kind: str
    limit: str
    clear: str
    devices: int
    scope: str
    opened_alerts: str
    open_alerts: str
    share: float
    """What it opened, in percent of what the busiest rule of the page did."""


def blueprint(renderer: PageRenderer, actions: RuleActions) -> Blueprint:
    """Return the routes of the list."""
    routes = Blueprint("rules", __name__)
    _add_list(routes, renderer, actions)
    _add_toggle(routes, actions)
    _add_delete(routes, renderer, actions)
    return routes


def _add_list(routes: Blueprint, renderer: PageRenderer, actions: RuleActions) -> None:
    access = renderer.platform.access

    @routes.get(PATH)
    @allow(READERS)
    async def all_rules() -> Response:
        asked = query(RuleQuery)
        if csv.asked_for():
            return export.answer(actions, asked)
        shown, following = await actions.page(asked)
        async with access.reading() as connection:
            counts = await store.counts(connection, tenants_shown())
            covered = await store.covered(connection, [kept.rule for kept in shown])
            failing = await store.list_page(
                connection, RuleFilter(tenants_shown(), failing=True), now=access.now(), limit=FAILING_NAMED
            )
            metrics = await export.metrics_of(connection, shown)
            sites = await _site_names(connection, shown)
        most = max((kept.opened for kept in shown), default=0)
        return await renderer.page(
            "rules/list.html",
            done=DONE,
            rows=[_row(kept, metrics[kept.tenant_id], sites[kept.tenant_id], covered, most) for kept in shown],
            counts=counts,
            failing=[(kept.rule.name, _at(kept)) for kept in failing],
            next=following,
            kinds=[(kind.value, label, counts.by_kind.get(kind, 0), None) for kind, label in KINDS.items()],
            severities=[(value, label) for value, _, label in SEVERITIES],
            states=STATES,
            sorts=SORTS,
            may_change=may_change(viewer()),
        )


def _add_toggle(routes: Blueprint, actions: RuleActions) -> None:
    @routes.post("/rules/<rule_id>/switch")
    @allow(ADMINS)
    async def switch(rule_id: str) -> Response:
        fields = await forms.read()
        enabled = fields.flag("enabled")
        await actions.set_enabled(rule_id, enabled=enabled)
        try:
            back = Address.of_query(PATH, fields.text("back", most=2000))
        except ValueError:  # more parameters than the list has
            back = Address(PATH)
        return see_other(str(back.having(done="on" if enabled else "off")))


def _add_delete(routes: Blueprint, renderer: PageRenderer, actions: RuleActions) -> None:
    async def asked(rule_id: str, fault: Fault | None) -> Response:
        kept = await actions.get(rule_id)
        return await renderer.page(
            "rules/delete.html",
            status=HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY,
            rule=kept,
            fault=fault,
            action=_at(kept, "/delete"),
            back=_at(kept),
        )

    @routes.get("/rules/<rule_id>/delete")
    @allow(ADMINS)
    async def ask(rule_id: str) -> Response:
        return await asked(rule_id, None)

    @routes.post("/rules/<rule_id>/delete")
    @allow(ADMINS)
    async def delete(rule_id: str) -> Response:
        fault = await name_fault((await actions.get(rule_id)).rule.name)
        if fault is not None:
            return await asked(rule_id, fault)
        await actions.delete(rule_id)
        return see_other(of_tenant(PATH, viewer(), tenant_of(), done="deleted"))


def _at(kept: TenantRule, part: str = "") -> str:
    return of_tenant(f"{PATH}/{kept.rule.rule_id}{part}", viewer(), kept.tenant_id)


def _row(
    kept: TenantRule,
    metrics: Mapping[str, Metric],
    sites: Mapping[str, str],
    covered: Mapping[UUID, int],
    most: int,
) -> RuleRow:
    rule = kept.rule
    glyph, severity = next((mark, label) for value, mark, label in SEVERITIES if value == rule.severity.value)
    return RuleRow(
        kept=kept,
        href=_at(kept),
        toggle=_at(kept, "/switch"),
        glyph=glyph,
        severity=severity,
        kind=KINDS[rule.kind],
        limit=labels.limit(rule.parameters, metrics),
        clear=labels.clears(rule.parameters, metrics),
        devices=covered.get(rule.rule_id, 0),
        scope=labels.scope(rule.scope, sites),
        opened_alerts=of_tenant("/alerts", viewer(), kept.tenant_id, tab="all", rule_id=str(rule.rule_id)),
        open_alerts=of_tenant("/alerts", viewer(), kept.tenant_id, rule_id=str(rule.rule_id)),
        share=100 * kept.opened / most if most else 0.0,
    )


async def _site_names(connection: Connection[Any], rules: Sequence[TenantRule]) -> dict[str, dict[str, str]]:
    """Return the names of the sites that rules are about, by tenant."""
    named: dict[str, set[str]] = {kept.tenant_id: set() for kept in rules}
    for kept in rules:
        named[kept.tenant_id] |= set(kept.rule.scope.site_ids)
    return {tenant_id: await site_store.names(connection, tenant_id, ids) for tenant_id, ids in named.items()}
