"""The list of users as a CSV file."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from quart import Response

from appliance.db.trio_psycopg import Connection
from appliance.people import users
from appliance.people.users import UserFilter
from appliance.web.access.auth import Viewer
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
    "tenant_id", "email", "name", "role", "state", "has_second_factor", "last_sign_in_at", "created_at", "disabled_at",
)  # fmt: skip


def answer(platform: Platform, who: Viewer, wanted: UserFilter) -> Response:
    """Return the download of the users that match."""

    async def read(connection: Connection[Any], after: tuple[str, UUID] | None) -> csv.Page[tuple[str, UUID]]:
        wanted_page = replace(wanted, after=after or wanted.after)
        page = await users.list_page(connection, wanted_page, csv.PAGE_ROWS)
        rows = [[getattr(user, name) for name in HEADS] for user in page]
        return rows, csv.next_position(page, lambda user: (user.email, user.user_id))

    return csv.list_answer(platform, who, "users", HEADS, read)
