"""The name of a live list: what its address asks for, so that its live parts show the same. Pure."""

from urllib.parse import urlencode

from appliance.devices.topics import valid_id
from appliance.web.access.auth import Viewer
from appliance.web.page.address import Address


def live_name(page: str, who: Viewer, tenant_id: str | None, **asked: str) -> str:
    """Return the name of a live list; ``asked``: what else its parts depend on."""
    of = {"tenant": tenant_id} if who.is_operator and tenant_id is not None else {}
    return f"{page}/{urlencode({'list': '1', **of, **{name: text for name, text in asked.items() if text}})}"


def tenant_of_live(seen_by: Viewer, address: Address) -> str | None:
    """Return the tenant of a live list: the viewer's own, for operators that of its name. Raises ValueError."""
    if seen_by.tenant_id is not None:
        return seen_by.tenant_id
    asked = address.first("tenant") or None
    if asked is not None and not valid_id(asked):
        raise ValueError("no id of a tenant")
    return asked
