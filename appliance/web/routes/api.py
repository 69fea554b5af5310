"""The API of routes: ``/customer/integration-routes``."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.delivery.routes.explanation import PREVIEWED
from appliance.web.access.auth import ADMINS, READERS, allow
from appliance.web.access.transactions import tenants_shown
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv
from appliance.web.routes import export
from appliance.web.routes.actions import RouteActions
from appliance.web.routes.schemas import (
    RouteChange,
    RouteNew,
    RouteOut,
    RoutePage,
    RouteQuery,
    RouteTrial,
    RouteTried,
    edited,
    filter_of,
    new_draft,
    shown,
    tried,
)

PATH = "/customer/integration-routes"


def blueprint(routes: RouteActions) -> Blueprint:
    """Return the operations of the API."""
    operations = Blueprint("api_routes", __name__)
    _add_list(operations, routes)
    _add_one(operations, routes)
    return operations


def _add_list(operations: Blueprint, routes: RouteActions) -> None:
    @operations.get(PATH)
    @allow(READERS)
    @describe("List routes", query=RouteQuery, answers={HTTPStatus.OK: RoutePage}, csv=True)
    async def list_routes() -> Response:
        asked = query(RouteQuery)
        wanted = filter_of(asked, tenants_shown())
        if csv.asked_for():
            return export.answer(routes.platform, wanted)
        found, following = await routes.page(wanted, asked.limit, asked.cursor)
        return answer(RoutePage([shown(one) for one in found], following))

    @operations.post(PATH)
    @allow(ADMINS)
    @describe("Add a route", body=RouteNew, answers={HTTPStatus.CREATED: RouteOut})
    async def create() -> Response:
        made = await routes.create(new_draft(await body(RouteNew)))
        return answer(shown(made), HTTPStatus.CREATED, {"Location": f"{PATH}/{made.route.route_id}"})

    @operations.post(f"{PATH}/preview")
    @allow(ADMINS)
    @describe(
        "Preview a route",
        details=(
            f"Answers which of the last {PREVIEWED} alerts the route would have taken if it were enabled, beside the"
            " routes that there are, and why it would not have taken the others. It changes nothing."
        ),
        body=RouteTried,
        answers={HTTPStatus.OK: RouteTrial},
        keyed=False,
    )
    async def preview() -> Response:
        wanted = await body(RouteTried)
        return answer(tried(await routes.preview(new_draft(wanted), wanted.route_id)))


def _add_one(operations: Blueprint, routes: RouteActions) -> None:
    @operations.get(f"{PATH}/<route_id>")
    @allow(READERS)
    @describe("Show a route", answers={HTTPStatus.OK: RouteOut})
    async def show(route_id: str) -> Response:
        return answer(shown(await routes.get(route_id)))

    @operations.patch(f"{PATH}/<route_id>")
    @allow(ADMINS)
    @describe("Update a route", body=RouteChange, answers={HTTPStatus.OK: RouteOut})
    async def change(route_id: str) -> Response:
        wanted = await body(RouteChange)
        return answer(shown(await routes.edit(route_id, lambda kept: edited(kept, wanted), wanted.version)))

    @operations.delete(f"{PATH}/<route_id>")
    @allow(ADMINS)
    @describe(
        "Delete a route",
        details="What it has not delivered yet is skipped.",
        answers={HTTPStatus.NO_CONTENT: None},
    )
    async def delete(route_id: str) -> Response:
        await routes.delete(route_id)
        return Response(b"", HTTPStatus.NO_CONTENT)
