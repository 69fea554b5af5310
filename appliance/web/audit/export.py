"""The audit as a CSV file, newest change first."""

from dataclasses import replace
from typing import Any

import msgspec
from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.people import audit_query
from appliance.people.audit_query import AuditFilter, AuditRow
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
    "time", "tenant_id", "actor", "actor_kind", "action", "object_type", "object_id", "before", "after", "address",
)  # fmt: skip


def answer(platform: Platform, who: Viewer, wanted: AuditFilter) -> Response:
    """Return the download of the changes that match."""

    async def read(connection: Connection[Any], after: int | None) -> csv.Page[int]:
        before_id = wanted.before_id if after is None else after
        page = await audit_query.read(connection, replace(wanted, before_id=before_id), csv.PAGE_ROWS)
        return [_cells(row) for row in page], csv.next_position(page, lambda row: row.id)

    return csv.list_answer(platform, who, "audit", HEADS, read)


def _cells(row: AuditRow) -> list[Any]:
    return [
        row.at,
        row.tenant_id,
        row.actor,
        row.actor_kind.value,
        row.action,
        row.object_type,
        row.object_id,
        None if row.before is None else msgspec.json.encode(row.before).decode(),
        None if row.after is None else msgspec.json.encode(row.after).decode(),
        row.address,
    ]
