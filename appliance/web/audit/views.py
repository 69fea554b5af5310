"""The audit page: who changed what and from where, filtered by person, object, action and time, also as CSV."""

from quart import Blueprint, Response, request

from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.audit import export
from appliance.web.audit.labels import FAMILIES
from appliance.web.audit.query import AuditReader, filter_of
from appliance.web.page.csv import asked_for
from appliance.web.page.renderer import PageRenderer

PAGE_ROWS = 100


def blueprint(renderer: PageRenderer) -> Blueprint:
    """Return the route of the audit page."""
    routes = Blueprint("audit", __name__)
    reader = AuditReader(renderer.platform)

    @routes.get("/audit")
    @allow(ADMINS)
    async def audit() -> Response:
        wanted = filter_of(request.args)
        if asked_for():
            return export.answer(renderer.platform, viewer(), wanted)
        entries, next_page = await reader.entries(wanted, PAGE_ROWS)
        return await renderer.page("audit/list.html", entries=entries, next=next_page, families=FAMILIES)

    return routes
