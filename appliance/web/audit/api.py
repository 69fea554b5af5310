"""``/customer/audit``: who changed what, newest change first."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response, request

from appliance.db.audit import ActorKind
from appliance.people.audit_query import AuditRow
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.audit import export
from appliance.web.audit.query import AuditReader, filter_of
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.platform import Platform

Text = Annotated[str, msgspec.Meta(max_length=254)]
Moment = Annotated[str, msgspec.Meta(max_length=64, description="RFC 3339, or a day or local time in your zone.")]


class AuditQuery(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """Which changes; a parameter that is left out matches any."""

    actor: Annotated[Text, msgspec.Meta(description="Exactly: an e-mail address, a token, a command's user.")] = ""
    object: Annotated[Text, msgspec.Meta(description="An id, or `type/id`.")] = ""
    action: Annotated[Text, msgspec.Meta(description="A prefix of the action, for example `device.`.")] = ""
    since: Moment = ""
    until: Moment = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class Change(msgspec.Struct, frozen=True):
    """One change. ``before`` and ``after`` hold the changed fields."""

    id: int
    at: datetime
    tenant_id: Annotated[str | None, msgspec.Meta(description="Null: the appliance as a whole.")]
    actor: str
    actor_kind: ActorKind
    action: str
    object_type: str
    object_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str | None


class AuditPage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[Change]
    next: str | None


def blueprint(platform: Platform) -> Blueprint:
    """Return the route of the audit in the API."""
    routes = Blueprint("api_audit", __name__)
    reader = AuditReader(platform)

    @routes.get("/customer/audit")
    @allow(ADMINS)
    @describe("List changes", query=AuditQuery, answers={HTTPStatus.OK: AuditPage}, csv=True)
    async def audit() -> Response:
        asked = query(AuditQuery)
        wanted = filter_of(request.args)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), wanted)
        page = await reader.page(wanted, asked.limit)
        return answer(AuditPage([_shown(row) for row in page.rows], page.next))

    return routes


def _shown(row: AuditRow) -> Change:
    return Change(**{name: getattr(row, name) for name in Change.__struct_fields__})
