"""The API of integrations: ``/customer/integrations``."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.web.access.auth import ADMINS, READERS, allow
from appliance.web.access.transactions import tenants_shown
from appliance.web.http.forwarding import own_url
from appliance.web.integrations import export
from appliance.web.integrations.actions import IntegrationActions
from appliance.web.integrations.schemas import (
    IntegrationChange,
    IntegrationNew,
    IntegrationOut,
    IntegrationPage,
    IntegrationQuery,
    TestOut,
    draft_of,
    edited,
    filter_of,
    shown,
    shown_once,
    tested,
)
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv

PATH = "/customer/integrations"


def blueprint(integrations: IntegrationActions) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("api_integrations", __name__)
    _add_list(routes, integrations)
    _add_one(routes, integrations)
    return routes


def _add_list(routes: Blueprint, integrations: IntegrationActions) -> None:
    @routes.get(PATH)
    @allow(READERS)
    @describe("List integrations", query=IntegrationQuery, answers={HTTPStatus.OK: IntegrationPage}, csv=True)
    async def list_integrations() -> Response:
        asked = query(IntegrationQuery)
        wanted = filter_of(asked, tenants_shown())
        if csv.asked_for():
            return export.answer(integrations.platform, wanted)
        found, following = await integrations.page(wanted, asked.limit, asked.cursor)
        return answer(IntegrationPage([shown(one) for one in found], following))

    @routes.post(PATH)
    @allow(ADMINS)
    @describe(
        "Add an integration",
        details="A webhook without a `signing_secret` of its own gets one, which this answer alone shows.",
        body=IntegrationNew,
        answers={HTTPStatus.CREATED: IntegrationOut},
    )
    async def create() -> Response:
        wanted = await body(IntegrationNew)
        made = await integrations.create(wanted.type, draft_of(wanted))
        where = f"{PATH}/{made.known.integration.integration_id}"
        return answer(shown_once(made), HTTPStatus.CREATED, {"Location": where})


def _add_one(routes: Blueprint, integrations: IntegrationActions) -> None:
    @routes.get(f"{PATH}/<integration_id>")
    @allow(READERS)
    @describe("Show an integration", answers={HTTPStatus.OK: IntegrationOut})
    async def show(integration_id: str) -> Response:
        return answer(shown(await integrations.get(integration_id)))

    @routes.patch(f"{PATH}/<integration_id>")
    @allow(ADMINS)
    @describe("Update an integration", body=IntegrationChange, answers={HTTPStatus.OK: IntegrationOut})
    async def change(integration_id: str) -> Response:
        wanted = await body(IntegrationChange)
        return answer(
            shown_once(await integrations.edit(integration_id, lambda kept: edited(kept, wanted), wanted.version))
        )

    @routes.delete(f"{PATH}/<integration_id>")
    @allow(ADMINS)
    @describe(
        "Delete an integration",
        details="409 while routes lead to it. What is not delivered yet is skipped.",
        answers={HTTPStatus.NO_CONTENT: None},
    )
    async def delete(integration_id: str) -> Response:
        await integrations.delete(integration_id)
        return Response(b"", HTTPStatus.NO_CONTENT)

    @routes.post(f"{PATH}/<integration_id>/test")
    @allow(ADMINS)
    @describe(
        "Send a sample to an integration",
        details="The sample is marked as a test, and is sent once, also where the integration is disabled.",
        answers={HTTPStatus.OK: TestOut},
    )
    async def test(integration_id: str) -> Response:
        url = own_url(integrations.platform.public_url)
        return answer(tested(await integrations.test(integration_id, url)))
