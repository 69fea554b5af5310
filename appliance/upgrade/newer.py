"""The refusal of a database that is newer than the program, with the way back and its price."""

from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import trio

from appliance import __version__
from appliance.db import statements
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import NewerDatabaseError
from appliance.db.require import require
from appliance.db.roles import BACKUP
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError
from appliance.upgrade.copies import find, leading_back

STATEMENTS = statements.load("upgrade")

COUNT_SECONDS = 10.0
"""Seconds for the exact count of readings; then the accounting says about how many they are."""


async def refusal(error: NewerDatabaseError, place: Endpoint, data_dir: Path) -> ApplianceError:
    """Return what to tell: which program to run, and how to go back to this one."""
    try:
        copy = leading_back(find(data_dir), error.known)
    except OSError:
        copy = None
    if copy is None or not place.login_is_role:
        made = "an external database" if not place.login_is_role else "here"
        way = f"no copy made before the upgrade is {'kept of' if not place.login_is_role else 'left'} {made}"
        back = f"To go back to version {__version__}, restore a backup made by it: `appliance restore FILE --replace`"
        return ApplianceError(f"{error}. {back} ({way})")
    lost = await readings_since(place, copy.at)
    return ApplianceError(
        f"{error}. To go back to version {__version__}: `appliance restore {copy.path} --replace`, the copy made"
        f" before the upgrade, of {copy.at:%Y-%m-%d %H:%M:%S} UTC with schema {copy.schema:04}; {lost}"
    )


async def readings_since(place: Endpoint, at: datetime) -> str:
    """Return, in words, how many readings were received since ``at`` and would be lost."""
    try:
        async with await connect(place.conninfo(BACKUP)) as connection:
            with trio.move_on_after(COUNT_SECONDS):
                return _words(await _count(connection, "count_readings_since", at), "")
        async with await connect(place.conninfo(BACKUP)) as connection:
            with trio.fail_after(COUNT_SECONDS):
                return _words(await _count(connection, "count_stored_since", at), "about ")
    except (psycopg.Error, trio.TooSlowError):  # a newer schema may have neither
        return "how many readings received since would be lost cannot be counted"


def _words(count: int, about: str) -> str:
    return f"{about}{count:,} reading{'' if count == 1 else 's'} received since would be lost"


async def _count(connection: Connection[Any], statement: str, at: datetime) -> int:
    cursor = await connection.execute(STATEMENTS[statement], {"since": at})
    return int(require(await cursor.fetchone(), "a count")[0])
