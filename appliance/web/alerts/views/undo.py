"""Undo of an acknowledgement, as the toast after it offers it: the alerts that moved stand in the address.

``?undo=17`` is alert 17; ``?undo=17.1.4`` are the alerts 17, 18 and 22: each number is the distance to the one before,
so that a page full of them fits into an address.
"""

from collections.abc import Sequence
from itertools import accumulate

from quart import request

from appliance.alerts.lifecycle import AlertStep
from appliance.web.access.auth import RESPONDERS, Viewer
from appliance.web.page.address import Address
from appliance.web.page.frame import Undo
from appliance.web.page.paths import of_tenant

LONGEST = 2000
"""Characters of ids in an address; of more alerts the undo is not offered."""
MAX_ID = 2**63 - 1


def written(alert_ids: Sequence[int]) -> str | None:
    """Return the alerts as the address has them; None for none, and for too many."""
    ordered = sorted(set(alert_ids))
    text = ".".join(str(one - before) for before, one in zip([0, *ordered], ordered, strict=False))
    return text if 0 < len(text) <= LONGEST else None


def read(text: str) -> list[int]:
    """Return the alerts that an address names; none for what nobody has written."""
    parts = text.split(".")
    if len(text) > LONGEST or not all(part.isascii() and part.isdecimal() for part in parts):
        return []
    found = list(accumulate(int(part) for part in parts))
    return found if found[-1] <= MAX_ID else []


def offered(who: Viewer) -> Undo | None:
    """Return what the toast's Undo sends: it takes back the acknowledgements that the request's address names."""
    ids = read(request.args.get("undo", ""))
    if not ids or who.role not in RESPONDERS:
        return None
    address = Address.of_request()
    tenant_id = address.first("tenant") or None
    back = {"back": address.having().query} if address.path == "/alerts" else {}
    if len(ids) == 1:
        return Undo(of_tenant(f"/alerts/{ids[0]}/unacknowledge", who, tenant_id, **back))
    return of_many(ids, who, tenant_id, address.having().query)


def of_many(ids: Sequence[int], who: Viewer, tenant_id: str | None, back: str) -> Undo:
    """Return what takes back the acknowledgements of several alerts. ``back``: the query of the list to return to."""
    fields = (("step", AlertStep.UNACKNOWLEDGE.value), ("back", back), *(("alert", str(one)) for one in ids))
    return Undo(of_tenant("/alerts/+bulk", who, tenant_id), fields)
