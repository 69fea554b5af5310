"""The audit: who changed what, from where; by person, object and time, and all of it as CSV."""

from quart import Blueprint, Response, request

from appliance.people.audit_query import PAGE
from appliance.web.access.auth import ADMINS, allow
from appliance.web.audit.labels import FAMILIES
from appliance.web.audit.query import AuditReader, wanted_of
from appliance.web.page.csv import asked_for
from appliance.web.page.renderer import PageRenderer


def blueprint(renderer: PageRenderer) -> Blueprint:
    """The route of the page."""
    routes = Blueprint("audit", __name__)
    reader = AuditReader(renderer.platform)

    @routes.get("/audit")
    @allow(ADMINS)
    async def audit() -> Response:
        wanted = wanted_of(request.args)
        if asked_for():
            return reader.file(wanted)
        changes, next_page = await reader.audit_entry_of(wanted, PAGE)
        return await renderer.page("audit/list.html", changes=changes, next=next_page, families=FAMILIES)

    return routes
