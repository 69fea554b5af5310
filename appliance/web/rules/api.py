"""The API of alert rules: ``/customer/alert-rules``."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.alerts.rules.validation import draft_of
from appliance.web.access.auth import ADMINS, READERS, allow
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv
from appliance.web.rules import export
from appliance.web.rules.actions import RuleActions, RuleQuery
from appliance.web.rules.schemas import RuleChange, RuleNew, RuleOut, RulePage, described_by, shown

PATH = "/customer/alert-rules"


def blueprint(rules: RuleActions) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("api_rules", __name__)

    @routes.get(PATH)
    @allow(READERS)
    @describe("List alert rules", query=RuleQuery, answers={HTTPStatus.OK: RulePage}, csv=True)
    async def list_rules() -> Response:
        asked = query(RuleQuery)
        if csv.asked_for():
            return export.answer(rules, asked)
        kept, following = await rules.page(asked)
        return answer(RulePage([shown(one) for one in kept], following))

    @routes.post(PATH)
    @allow(ADMINS)
    @describe("Add an alert rule", body=RuleNew, answers={HTTPStatus.CREATED: RuleOut})
    async def create() -> Response:
        given = described_by(await body(RuleNew))
        made = await rules.create(draft_of({name: value for name, value in given.items() if value is not None}))
        return answer(shown(made), HTTPStatus.CREATED, {"Location": f"{PATH}/{made.rule.rule_id}"})

    @routes.get(f"{PATH}/<rule_id>")
    @allow(READERS)
    @describe("Show an alert rule", answers={HTTPStatus.OK: RuleOut})
    async def show(rule_id: str) -> Response:
        return answer(shown(await rules.get(rule_id)))

    @routes.patch(f"{PATH}/<rule_id>")
    @allow(ADMINS)
    @describe(
        "Update an alert rule",
        details="A change of anything but name, description and severity closes the rule's open alerts.",
        body=RuleChange,
        answers={HTTPStatus.OK: RuleOut},
    )
    async def change(rule_id: str) -> Response:
        wanted = await body(RuleChange)
        return answer(shown(await rules.edit(rule_id, described_by(wanted), wanted.version)))

    @routes.delete(f"{PATH}/<rule_id>")
    @allow(ADMINS)
    @describe(
        "Delete an alert rule",
        details="Its open alerts close; all its alerts stay. The built-in rule can only be disabled.",
        answers={HTTPStatus.NO_CONTENT: None},
    )
    async def delete(rule_id: str) -> Response:
        await rules.delete(rule_id)
        return Response(b"", HTTPStatus.NO_CONTENT)

    return routes
