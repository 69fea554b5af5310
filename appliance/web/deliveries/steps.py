"""What people do with deliveries: try one again, try all dead ones of the list again, cancel one that waits."""

from datetime import datetime

from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from appliance.delivery.outbox.deliveries import DeliveryFilter
from appliance.delivery.outbox.job import JobStatus
from appliance.errors import Invalid
from appliance.web.access.auth import RESPONDERS, allow, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.deliveries.actions import DeliveryActions
from appliance.web.deliveries.labels import EVENTS
from appliance.web.deliveries.page_query import PageQuery, filter_of
from appliance.web.openapi.describe import parse_query
from appliance.web.page import forms
from appliance.web.page.address import Address
from appliance.web.page.forms import Fields
from appliance.web.page.paths import number_of_path, of_tenant
from appliance.web.page.renderer import PageRenderer, see_other


def blueprint(renderer: PageRenderer, actions: DeliveryActions) -> Blueprint:
    """Return the routes of the steps."""
    routes = Blueprint("delivery_steps", __name__)

    @routes.post("/deliveries/<int:job_id>/retry")
    @allow(RESPONDERS)
    async def retry(job_id: int) -> Response:
        fields = await forms.read()
        await actions.retry(await _tenant(actions, job_id), job_id)
        return see_other(str(_back(fields).having(done="retried")))

    @routes.get("/deliveries/<int:job_id>/cancel")
    @allow(RESPONDERS)
    async def ask(job_id: int) -> Response:
        one = (await actions.show(tenants_shown(), number_of_path(job_id, "delivery"))).delivery
        back = _back(Fields({}))
        return await renderer.page(
            "deliveries/cancel.html",
            one=one,
            event=EVENTS[one.event].lower(),
            action=of_tenant(f"/deliveries/{job_id}/cancel", viewer(), one.tenant_id),
            back=str(back),
            kept=back.query,
        )

    @routes.post("/deliveries/<int:job_id>/cancel")
    @allow(RESPONDERS)
    async def cancel(job_id: int) -> Response:
        fields = await forms.read()
        await actions.cancel(await _tenant(actions, job_id), job_id)
        return see_other(str(_back(fields).having(done="cancelled")))

    @routes.post("/deliveries/+retry")
    @allow(RESPONDERS)
    async def retry_dead() -> Response:
        back = _back(await forms.read())
        wanted = _of_list(back, tenant_of(), renderer.platform.access.now())
        retried = await actions.retry_dead(wanted)
        left = (await actions.counts(wanted))[JobStatus.DEAD]
        return see_other(str(back.having(done="all", many=retried, left=left)))

    return routes


def _of_list(back: Address, tenant_id: str, now: datetime) -> DeliveryFilter:
    """Return the filter of the list that somebody looks at. Raises Invalid."""
    return filter_of(parse_query(MultiDict(back.pairs), PageQuery), tenant_id, now)


async def _tenant(actions: DeliveryActions, job_id: int) -> str:
    """Return whose delivery it is, as far as the viewer may see. Raises NotFound."""
    return (await actions.show(tenants_shown(), number_of_path(job_id, "delivery"))).delivery.tenant_id


def _back(fields: Fields) -> Address:
    """Return the list as it was."""
    query = fields.typed("back") if "back" in fields else request.args.get("back", "")
    try:
        return Address.of_query("/deliveries", query)
    except ValueError:
        raise Invalid("This is no address of the list.", "back") from None
