"""``/customer/deliveries``: list and show deliveries; send dead ones again, one or many; cancel what waits."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.web.access.auth import READERS, RESPONDERS, allow, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.deliveries import export
from appliance.web.deliveries.actions import DeliveryActions
from appliance.web.deliveries.schemas import (
    DeliveryList,
    DeliveryQuery,
    DeliveryRetried,
    DeliveryRetry,
    DeliveryWhole,
    delivery_out,
    filter_of,
    whole_out,
)
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import number_of_path
from appliance.web.platform import Platform

IMPOSSIBLE = "When its status does not allow it: 409, with `present_status`."


def blueprint(platform: Platform, actions: DeliveryActions) -> Blueprint:
    """Return the routes of deliveries."""
    routes = Blueprint("api_deliveries", __name__)
    _add_reading(routes, platform, actions)
    _add_retries(routes, actions)

    @routes.post("/customer/deliveries/<int:job_id>/cancel")
    @allow(RESPONDERS)
    @describe("Cancel a delivery that waits", details=IMPOSSIBLE, answers={HTTPStatus.OK: DeliveryWhole})
    async def cancel(job_id: int) -> Response:
        return answer(whole_out(await actions.cancel(tenant_of(), _id(job_id))))

    return routes


def _add_reading(routes: Blueprint, platform: Platform, actions: DeliveryActions) -> None:
    @routes.get("/customer/deliveries")
    @allow(READERS)
    @describe("List deliveries, newest first", query=DeliveryQuery, answers={HTTPStatus.OK: DeliveryList}, csv=True)
    async def list_deliveries() -> Response:
        asked = query(DeliveryQuery)
        wanted = filter_of(asked, tenants_shown(), viewer().zone)
        after = cursor.read(asked.cursor, int)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), wanted)
        page = await actions.page(wanted, limit=asked.limit, after=after)
        return answer(DeliveryList([delivery_out(one) for one in page.deliveries], cursor.write(page.next)))

    @routes.get("/customer/deliveries/<int:job_id>")
    @allow(READERS)
    @describe("Show a delivery with its attempts", answers={HTTPStatus.OK: DeliveryWhole})
    async def show(job_id: int) -> Response:
        return answer(whole_out(await actions.show(tenants_shown(), _id(job_id))))


def _add_retries(routes: Blueprint, actions: DeliveryActions) -> None:
    @routes.post("/customer/deliveries/<int:job_id>/retry")
    @allow(RESPONDERS)
    @describe(
        "Send a dead delivery again",
        details=(
            "With the same `message_id`, whatever would hold it back. One that waits for its next try is tried at once."
            f" {IMPOSSIBLE}"
        ),
        answers={HTTPStatus.OK: DeliveryWhole},
    )
    async def retry(job_id: int) -> Response:
        return answer(whole_out(await actions.retry(tenant_of(), _id(job_id))))

    @routes.post("/customer/deliveries/retry")
    @allow(RESPONDERS)
    @describe(
        "Send the dead deliveries of a filter again",
        details="Those of a disabled route or integration stay as they are.",
        body=DeliveryRetry,
        answers={HTTPStatus.OK: DeliveryRetried},
    )
    async def retry_dead() -> Response:
        wanted = filter_of(await body(DeliveryRetry), tenant_of(), viewer().zone)
        return answer(DeliveryRetried(await actions.retry_dead(wanted)))


def _id(job_id: int) -> int:
    return number_of_path(job_id, "delivery")
