"""The pages of one rule: the editor in sentences, with its preview, for a new rule and for one that is there.

One form does all: ``do`` says whether it saves, redraws the form for another kind or metric, adds or removes a further
condition, or shows the preview. So everything works without script.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from appliance.alerts.kinds.threshold import MOST_CONDITIONS
from appliance.alerts.rules import metric_history
from appliance.alerts.rules.store import TenantRule
from appliance.alerts.rules.validation import draft_of
from appliance.devices import sites as site_store
from appliance.devices.metrics import store as metric_store
from appliance.devices.metrics.metric import NAME, Metric
from appliance.devices.topics import valid_id
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import ADMINS, READERS, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.page import forms
from appliance.web.page.faults import Fault
from appliance.web.page.forms import Fields
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import HTML, PageRenderer, see_other
from appliance.web.rules import form as rule_form
from appliance.web.rules import labels, preview_view
from appliance.web.rules.actions import RuleActions
from appliance.web.rules.editor_form import EditorForm
from appliance.web.rules.form import BOOLEANS, TEXTS, USUAL_AGE, Given, MetricTypes
from appliance.web.rules.preview_chart import chart_of
from appliance.web.rules.preview_view import PreviewView, Usable
from appliance.web.rules.previewer import Previewer

PATH = "/rules"
MAX_METRICS = 1000
"""Metrics to choose from: as many as are learned."""
MAX_SITES = 1000
HINT = "Finish the sentence to see what the rule would have opened over the last 7 days."


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a tenant has that a rule can name."""

    metrics: Mapping[str, Metric]
    types: MetricTypes
    sites: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Editor:
    """Renders the editor for the current viewer."""

    renderer: PageRenderer
    actions: RuleActions
    previewer: Previewer

    async def surroundings(self, tenant_id: str) -> Surroundings:
        """Return what the tenant has that a rule can name."""
        async with self.renderer.platform.access.reading() as connection:
            metrics = await metric_store.list_page(connection, tenant_id, limit=MAX_METRICS)
            types = await metric_history.types(connection, tenant_id)
            sites = await site_store.list_page(connection, tenant_id, limit=MAX_SITES)
        return Surroundings(
            {kept.metric.name: kept.metric for kept in metrics},
            types,
            [(kept.site.site_id, kept.site.title) for kept in sites],
        )

    async def page(
        self,
        rule: TenantRule | None,
        given: Given,
        around: Surroundings,
        *,
        fault: Fault | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        preview: PreviewView | None = None,
    ) -> Response:
        """Return the page with the form as given."""
        who, tenant_id = viewer(), tenant_of()
        form = EditorForm(
            given=given,
            fault=fault,
            action=of_tenant(_path(rule), who, tenant_id),
            preview_at=of_tenant(f"{_path(rule)}/preview", who, tenant_id),
            delete_at=_delete_at(rule, tenant_id),
            known=around.metrics,
            types=around.types,
            sites=around.sites,
            built_in=rule is not None and rule.rule.built_in is not None,
            fresh=preview is None,
        )
        return await self.renderer.page(
            "rules/edit.html",
            status=status,
            rule=rule,
            form=form,
            preview=preview or preview_view.waiting(),
            preview_at=form.preview_at,
            back=of_tenant(PATH, who, tenant_id),
            alerts=None if rule is None else of_tenant("/alerts", who, tenant_id, rule_id=str(rule.rule.rule_id)),
        )

    async def preview(
        self, rule: TenantRule | None, given: Given, fields: Fields, around: Surroundings
    ) -> tuple[PreviewView, Fault | None]:
        """Return the preview of what was typed, and the fault of the form, if there is one."""
        built_in = None if rule is None else rule.rule.built_in
        flat, wrong = rule_form.flat_of(given, around.types)
        saved = None if rule is None else rule.flat()
        valid = preview_view.last_valid(fields.raw("valid", most=100_000), built_in) or saved
        try:
            usable = preview_view.usable(flat, wrong, valid, built_in)
        except Invalid as error:
            return preview_view.nothing(HINT), _fault(error)
        fault = next((_fault(error) for error in wrong.values()), None)
        return await self.view(rule, usable, around, fields.typed("device")), fault

    async def view(self, rule: TenantRule | None, usable: Usable, around: Surroundings, device_id: str) -> PreviewView:
        """Return the preview of a rule, with the chart of a device if it is one of its own."""
        tenant_id, previewed = tenant_of(), usable.rule
        found = await self.previewer.of(tenant_id, previewed)
        saved = None
        if rule is not None and not rule.rule.error:
            before = preview_view.previewed(rule.flat(), rule.rule.built_in)
            saved = await self.previewer.of(tenant_id, before) if before != previewed else None
        shown = device_id if device_id in found.by_device or device_id in found.reporting else found.telling
        name = previewed.parameters.metric
        metric = None if name is None else around.metrics.get(name) or Metric(name)
        who, access = viewer(), self.renderer.platform.access
        chart = None
        if shown is not None:
            async with access.reading() as connection:
                chart = await chart_of(
                    connection, tenant_id, shown, previewed, metric, found,
                    numbers=_numbers(name, around.types), zone=who.zone,
                )  # fmt: skip
        rows = preview_view.rows_of(found, metric, who, tenant_id, access.now().timestamp())
        return PreviewView(
            title=preview_view.title_of(found),
            missing="",
            device=shown,
            devices=preview_view.devices_of(found),
            metric=metric,
            chart=chart,
            limits=preview_view.limits_of(previewed, metric),
            rows=rows,
            more=found.alerts - len(rows),
            value_head=preview_view.value_head(previewed),
            match=preview_view.match_text(found, metric),
            covered=preview_view.covered_text(found, previewed, saved),
            notes=_notes(usable, metric),
            valid=msgspec.json.encode(usable.flat).decode(),
        )


def blueprint(renderer: PageRenderer, actions: RuleActions, previewer: Previewer) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint("rule", __name__)
    editor = Editor(renderer, actions, previewer)
    _add_new(routes, editor)
    _add_one(routes, editor)
    _add_previews(routes, editor)
    return routes


def _add_new(routes: Blueprint, editor: Editor) -> None:
    @routes.get("/rules/new")
    @allow(ADMINS)
    async def show_new() -> Response:
        metric, device = request.args.get("metric", ""), request.args.get("device", "")
        given = rule_form.blank(metric if NAME.fullmatch(metric) else "", device if valid_id(device) else "")
        return await editor.page(None, given, await editor.surroundings(tenant_of()))

    @routes.post("/rules/new")
    @allow(ADMINS)
    async def create() -> Response:
        return await _submitted(editor, None)


def _add_one(routes: Blueprint, editor: Editor) -> None:
    @routes.get("/rules/<rule_id>")
    @allow(READERS)
    async def show_one(rule_id: str) -> Response:
        rule = await editor.actions.get(rule_id)
        around = await editor.surroundings(tenant_of())
        if may_change(viewer()):
            return await editor.page(rule, rule_form.shown(rule.flat(), rule.version.isoformat()), around)
        return await _read_only(editor, rule, around)

    @routes.post("/rules/<rule_id>")
    @allow(ADMINS)
    async def save(rule_id: str) -> Response:
        return await _submitted(editor, await editor.actions.get(rule_id))


def _add_previews(routes: Blueprint, editor: Editor) -> None:
    @routes.post("/rules/new/preview")
    @allow(ADMINS)
    async def preview_new() -> Response:
        return await _fragment(editor, None)

    @routes.post("/rules/<rule_id>/preview")
    @allow(ADMINS)
    async def preview_one(rule_id: str) -> Response:
        return await _fragment(editor, await editor.actions.get(rule_id))


async def _fragment(editor: Editor, rule: TenantRule | None) -> Response:
    """Return the preview alone, which takes the place of the one on the page."""
    fields, around = await forms.read(), await editor.surroundings(tenant_of())
    preview, _ = await editor.preview(rule, rule_form.typed(fields), fields, around)
    renderer = editor.renderer
    html = renderer.templates.render(
        "rules/preview.html",
        frame=renderer.frame(),
        preview=preview,
        preview_at=of_tenant(f"{_path(rule)}/preview", viewer(), tenant_of()),
    )
    return Response(html, content_type=HTML)


async def _submitted(editor: Editor, rule: TenantRule | None) -> Response:
    """Do what the pressed button says."""
    fields, around = await forms.read(), await editor.surroundings(tenant_of())
    given, do = rule_form.typed(fields), fields.typed("do")
    if do == "preview":
        preview, fault = await editor.preview(rule, given, fields, around)
        return await editor.page(rule, given, around, fault=fault, preview=preview)
    if do == "add" and len(given.conditions) < MOST_CONDITIONS:
        given.conditions.append(dict(USUAL_AGE))
    if do.startswith("remove-"):
        given.conditions[:] = [row for index, row in enumerate(given.conditions) if do != f"remove-{index}"]
    if do not in ("", "save"):
        return await editor.page(rule, given, around)
    return await _saved(editor, rule, given, fields, around)


async def _saved(
    editor: Editor, rule: TenantRule | None, given: Given, fields: Fields, around: Surroundings
) -> Response:
    """Save the rule and go to the list, or show the form again with what is wrong."""
    flat, wrong = rule_form.flat_of(given, around.types)
    try:
        version = forms.version(fields)
        for error in wrong.values():
            raise error
        draft = draft_of(flat, built_in=None if rule is None else rule.rule.built_in)
        if rule is None:
            await editor.actions.create(draft)
        else:
            await editor.actions.change(rule.rule.rule_id, draft, version)
    except Invalid as error:
        status, fault = HTTPStatus.UNPROCESSABLE_ENTITY, _fault(error)
    except Conflict as error:
        status, fault = HTTPStatus.CONFLICT, ("name" if "called" in str(error) else "", str(error))
    else:
        return see_other(of_tenant(PATH, viewer(), tenant_of(), done="created" if rule is None else "saved"))
    preview, _ = await editor.preview(rule, given, fields, around)
    return await editor.page(rule, given, around, fault=fault, status=status, preview=preview)


async def _read_only(editor: Editor, rule: TenantRule, around: Surroundings) -> Response:
    """Return the page for people who may see the rule, and not change it."""
    try:
        flat = rule.flat()
        usable = Usable(flat, preview_view.previewed(flat, rule.rule.built_in), {})
        preview = await editor.view(rule, usable, around, request.args.get("device", ""))
    except Invalid as error:
        preview = preview_view.nothing(str(error))
    return await editor.renderer.page(
        "rules/show.html",
        rule=rule,
        preview=preview,
        preview_at=None,
        limit=labels.limit(rule.rule.parameters, around.metrics),
        clear=labels.clears(rule.rule.parameters, around.metrics),
        scope=labels.scope(rule.rule.scope, dict(around.sites)),
        back=of_tenant(PATH, viewer(), tenant_of()),
    )


def _path(rule: TenantRule | None) -> str:
    return f"{PATH}/{'new' if rule is None else rule.rule.rule_id}"


def _delete_at(rule: TenantRule | None, tenant_id: str) -> str | None:
    if rule is None or rule.rule.built_in is not None:
        return None
    return of_tenant(f"{_path(rule)}/delete", viewer(), tenant_id)


def _fault(error: Invalid) -> Fault:
    return rule_form.control_of(error.field), rule_form.people_text(error)


def _numbers(metric: str | None, types: MetricTypes) -> bool:
    found = set(types.get(metric or "", ()))
    return found not in (BOOLEANS, TEXTS)


def _notes(usable: Usable, metric: Metric | None) -> list[str]:
    """Return a sentence on each field in error."""
    return [_note(name, stand_in, metric) for name, stand_in in usable.repaired.items()]


def _note(name: str, stand_in: Any, metric: Metric | None) -> str:
    label = f"The field {rule_form.LABELS.get(name, name.replace('_', ' '))} has an error"
    if stand_in is None:
        return f"{label}, so the preview leaves it out."
    if isinstance(stand_in, list | dict):
        return f"{label}, so the preview uses the last valid one."
    valid = f"{stand_in} s" if name in rule_form.DURATIONS else preview_view.shown(stand_in, metric)
    return f"{label}, so the preview uses the last valid {valid}."
