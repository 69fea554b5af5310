"""The audit filter of an address, the same for the page, the API and the CSV files, and the reader of its pages."""

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.errors import Invalid
from appliance.people import audit_query
from appliance.people.audit_query import AuditFilter, AuditRow
from appliance.web.access.auth import viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.audit.labels import AuditEntry, entry_of
from appliance.web.page import cursor
from appliance.web.page.time_range import moment_of
from appliance.web.platform import Platform

MAX_TEXT = 254


@dataclass(frozen=True, slots=True)
class AuditRows:
    """A page of rows, newest first; ``next`` is the cursor of the next page."""

    rows: list[AuditRow]
    next: str | None


class AuditReader:
    """Reads the changes that the current viewer may see."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def page(self, wanted: AuditFilter, limit: int) -> AuditRows:
        """Return one page of at most ``limit`` rows."""
        async with self._platform.access.reading() as connection:
            rows = await audit_query.read(connection, wanted, limit + 1)
        return AuditRows(rows[:limit], cursor.write(rows[limit - 1].id if len(rows) > limit else None))

    async def entries(self, wanted: AuditFilter, limit: int) -> tuple[list[AuditEntry], str | None]:
        """Return one page as people read it, and the cursor of the next page."""
        page = await self.page(wanted, limit)
        async with self._platform.access.reading() as connection:
            names = await audit_query.names(connection, page.rows)
        return [entry_of(row, viewer().zone, names) for row in page.rows], page.next


def filter_of(arguments: Mapping[str, str]) -> AuditFilter:
    """Return the filter that the arguments of an address ask for. Raises Invalid, which names the parameter."""
    zone = viewer().zone
    first, last = arguments.get("from", ""), arguments.get("to", "")
    since = moment_of(first, zone, "from") if first else None
    until = moment_of(last, zone, "to", ends=True) if last else None
    if since is not None and until is not None and since >= until:
        raise Invalid("`from` must be before `to`.", "from")
    before_id = cursor.read(arguments.get("cursor"), int)
    if before_id is not None and not 0 < before_id < 2**63:
        raise Invalid(cursor.STALE, "cursor")
    return AuditFilter(
        tenant_id=tenants_shown(),
        actor=_text(arguments, "actor"),
        object=_text(arguments, "object"),
        action=_text(arguments, "action"),
        since=since,
        until=until,
        before_id=before_id,
    )


def _text(arguments: Mapping[str, str], name: str) -> str | None:
    text = arguments.get(name, "").strip()
    if len(text) > MAX_TEXT or "\0" in text:
        raise Invalid(f"`{name}` has at most {MAX_TEXT} characters, without control characters.", name)
    return text or None
