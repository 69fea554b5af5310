"""Metrics: what devices send, and what people call it. Prometheus has ``/metrics``, so this is ``/metric-names``."""

from collections.abc import Mapping
from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance.devices.metrics import store
from appliance.devices.metrics.metric import MAX_DECIMALS, MAX_LABEL, MAX_UNIT, Metric
from appliance.devices.metrics.store import TenantMetric
from appliance.devices.seats import changes
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import ADMINS, READERS, allow, may_change, viewer
from appliance.web.access.transactions import actor, tenant_of, tenants_shown
from appliance.web.metrics import export
from appliance.web.page import csv, cursor, forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.forms import Fields, version
from appliance.web.page.paths import metric_of_path, of_tenant
from appliance.web.page.renderer import PageRenderer, see_other

PAGE_ROWS = 50
LARGEST = 1e300
DONE = {"created": "The metric has a name.", "saved": "The metric is saved.", "deleted": "The name is forgotten."}


def blueprint(renderer: PageRenderer) -> Blueprint:
    """The routes."""
    routes = Blueprint("metric_names", __name__)
    _add_list(routes, renderer)
    access = renderer.platform.access

    def by() -> changes.ChangeContext:
        return changes.ChangeContext(actor(), access.now(), renderer.platform.grace)

    async def form(
        given: Mapping[str, str],
        named: TenantMetric | None,
        fault: Fault | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        return await renderer.page(
            "metrics/metric.html",
            status=status,
            named=named,
            given=given,
            fault=fault,
            most_decimals=MAX_DECIMALS,
            may_change=may_change(viewer()),
            back=of_tenant("/metric-names", viewer(), tenant_of()),
            delete=None if named is None else _to_metric(named, "/delete"),
        )

    @routes.get("/metric-names/+new")
    @allow(ADMINS)
    async def show_new() -> Response:
        return await form({}, None)

    @routes.post("/metric-names/+new")
    @allow(ADMINS)
    async def create() -> Response:
        fields = await forms.read()
        try:
            new = _metric(fields, fields.needed("name", "Write the name that devices send.", most=64))
            async with access.changing() as connection:
                await store.create(connection, tenant_of(), new, by())
        except Invalid as error:
            return await form(_given(fields), None, fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await form(_given(fields), None, fault_of(error, "name"), HTTPStatus.CONFLICT)
        return see_other(of_tenant("/metric-names", viewer(), tenant_of(), done="created"))

    @routes.get("/metric-names/<name>")
    @allow(READERS)
    async def show(name: str) -> Response:
        async with access.reading() as connection:
            named = await store.get(connection, tenant_of(), metric_of_path(name))
        return await form(_given_of(named), named)

    @routes.post("/metric-names/<name>")
    @allow(ADMINS)
    async def save(name: str) -> Response:
        fields = await forms.read()
        async with access.reading() as connection:
            named = await store.get(connection, tenant_of(), metric_of_path(name))
        try:
            async with access.changing() as connection:
                started, new = version(fields), _metric(fields, name)
                await store.change(connection, tenant_of(), new, by(), version=started)
        except Invalid as error:
            return await form(_given(fields), named, fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await form(_given(fields), named, fault_of(error), HTTPStatus.CONFLICT)
        return see_other(of_tenant("/metric-names", viewer(), tenant_of(), done="saved"))

    @routes.post("/metric-names/<name>/delete")
    @allow(ADMINS)
    async def delete(name: str) -> Response:
        async with access.changing() as connection:
            await store.delete(connection, tenant_of(), metric_of_path(name), by())
        return see_other(of_tenant("/metric-names", viewer(), tenant_of(), done="deleted"))

    return routes


def _add_list(routes: Blueprint, renderer: PageRenderer) -> None:
    @routes.get("/metric-names")
    @allow(READERS)
    async def all_metrics() -> Response:
        if csv.asked_for():
            return export.answer(renderer.platform, viewer(), tenants_shown())
        after = cursor.read(request.args.get("cursor"), tuple[str, str])
        async with renderer.platform.access.reading() as connection:
            found = await store.list_page(connection, tenants_shown(), limit=PAGE_ROWS + 1, after=after)
        shown = found[:PAGE_ROWS]
        return await renderer.page(
            "metrics/list.html",
            done=DONE,
            metrics=[(named, _to_metric(named)) for named in shown],
            next=cursor.write((shown[-1].tenant_id, shown[-1].metric.name)) if len(found) > PAGE_ROWS else None,
            may_change=may_change(viewer()),
        )


def _metric(fields: Fields, name: str) -> Metric:
    """The metric that a form describes. Raises Invalid, naming the field."""
    return Metric(
        name,
        fields.text("label", most=MAX_LABEL) or None,
        fields.text("unit", most=MAX_UNIT) or None,
        fields.whole("decimals", least=0, most=MAX_DECIMALS),
        fields.number("usual_low", least=-LARGEST, most=LARGEST),
        fields.number("usual_high", least=-LARGEST, most=LARGEST),
    )


def _given(fields: Fields) -> dict[str, str]:
    names = ("name", "label", "unit", "decimals", "usual_low", "usual_high", "version")
    return {name: str(fields.values[name][-1]) for name in names if fields.values.get(name)}


def _given_of(named: TenantMetric) -> dict[str, str]:
    metric = named.metric
    texts = {
        "label": metric.label,
        "unit": metric.unit,
        "decimals": metric.decimals,
        "usual_low": None if metric.usual_low is None else f"{metric.usual_low:g}",
        "usual_high": None if metric.usual_high is None else f"{metric.usual_high:g}",
    }
    known = {name: str(text) for name, text in texts.items() if text is not None}
    return known | {"name": metric.name, "version": named.version.isoformat()}


def _to_metric(named: TenantMetric, part: str = "") -> str:
    return of_tenant(f"/metric-names/{named.metric.name}{part}", viewer(), named.tenant_id)
