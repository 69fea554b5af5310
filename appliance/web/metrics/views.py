"""The pages of metrics: a list, and a form for each. ``/metrics`` is for Prometheus, so these are ``/metric-names``."""

from quart import Blueprint, Response, request

from appliance.devices.metrics.metric import MAX_DECIMALS, MAX_LABEL, MAX_UNIT, Metric
from appliance.devices.metrics.store import TenantMetric
from appliance.web.access.auth import READERS, allow, may_change, viewer
from appliance.web.metrics import export
from appliance.web.metrics.actions import MetricCollection
from appliance.web.page import csv
from appliance.web.page.collection_forms import CollectionForm, add_forms
from appliance.web.page.forms import Fields
from appliance.web.page.renderer import PageRenderer

PATH = "/metric-names"
PAGE_ROWS = 50
MAX_USUAL = 1e300
"""The largest number that a usual range may have."""
DONE = {"created": "The metric is added.", "saved": "The metric is saved.", "deleted": "The name is removed."}


def blueprint(renderer: PageRenderer, metrics: MetricCollection) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint("metric_names", __name__)
    _add_list(routes, renderer, metrics)
    add_forms(routes, renderer, metrics, FORM)
    return routes


def _add_list(routes: Blueprint, renderer: PageRenderer, metrics: MetricCollection) -> None:
    @routes.get(PATH)
    @allow(READERS)
    async def all_metrics() -> Response:
        if csv.asked_for():
            return export.answer(metrics)
        shown, following = await metrics.page(PAGE_ROWS, request.args.get("cursor"))
        return await renderer.page(
            "metrics/list.html",
            done=DONE,
            metrics=[(kept, metrics.address(PATH, kept)) for kept in shown],
            next=following,
            may_change=may_change(viewer()),
        )


def _parse(fields: Fields, name: str) -> Metric:
    return Metric(
        name,
        fields.text("label", most=MAX_LABEL) or None,
        fields.text("unit", most=MAX_UNIT) or None,
        fields.whole("decimals", least=0, most=MAX_DECIMALS),
        fields.number("usual_low", least=-MAX_USUAL, most=MAX_USUAL),
        fields.number("usual_high", least=-MAX_USUAL, most=MAX_USUAL),
    )


def _given(kept: TenantMetric) -> dict[str, str]:
    metric = kept.metric
    texts = {
        "label": metric.label,
        "unit": metric.unit,
        "decimals": metric.decimals,
        "usual_low": None if metric.usual_low is None else f"{metric.usual_low:g}",
        "usual_high": None if metric.usual_high is None else f"{metric.usual_high:g}",
    }
    known = {name: str(text) for name, text in texts.items() if text is not None}
    return known | {"name": metric.name, "version": kept.version.isoformat()}


FORM = CollectionForm(
    path=PATH,
    template="metrics/metric.html",
    id_field="name",
    id_missing="Enter the name that devices send.",
    fields=("label", "unit", "decimals", "usual_low", "usual_high"),
    parse=_parse,
    given=_given,
    values=lambda _: {},
)
