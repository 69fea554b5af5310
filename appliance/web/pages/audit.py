"""The audit: who changed what, from where; by person, object and time, and all of it as CSV."""

from quart import Blueprint, Response, request

from appliance.people.trail import PAGE
from appliance.web.audit_view import AuditReader, changes, wanted_of
from appliance.web.auth import ADMINS, allow
from appliance.web.site import Site

ACTIONS = (
    ("device.", "Devices"),
    ("user.", "Users"),
    ("session.", "Sessions"),
    ("token.", "Tokens"),
    ("site.", "Sites"),
    ("metric.", "Metrics"),
    ("quarantine.", "Quarantine"),
    ("subscription.", "Subscriptions"),
    ("tenant.", "Tenants"),
)
"""What can be chosen: how actions begin, in words."""


def blueprint(site: Site) -> Blueprint:
    """The route of the page."""
    routes = Blueprint("audit", __name__)
    reader = AuditReader(site.services)

    @routes.get("/audit")
    @allow(ADMINS)
    async def audit() -> Response:
        wanted = wanted_of(request.args)
        if request.args.get("format") == "csv":
            return reader.file(wanted)
        page = await reader.page(wanted, PAGE)
        rows = [(row, changes(row)) for row in page.rows]
        return site.page("pages/audit.html", rows=rows, next=page.next, actions=ACTIONS)

    return routes
