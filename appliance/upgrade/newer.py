"""The refusal of a database that is newer than the program, with the way back and its price."""

from datetime import datetime
from pathlib import Path

import psycopg
import structlog
import trio

from appliance import __version__
from appliance.backup.archive import Manifest, open_backup, read_archive
from appliance.db import statements
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import NewerDatabaseError
from appliance.db.require import require
from appliance.db.roles import BACKUP
from appliance.db.trio_psycopg import connect
from appliance.errors import ApplianceError
from appliance.upgrade.copies import Copy, find, newest_usable

STATEMENTS = statements.load("upgrade")

COUNT_SECONDS = 10.0
"""Seconds for each way to count."""

log = structlog.get_logger(__name__)


async def refusal(error: NewerDatabaseError, endpoint: Endpoint, data_dir: Path) -> ApplianceError:
    """Return what to tell: which program to run, and how to go back to this one."""
    copy = newest_usable(_whole(data_dir), error.known)
    if copy is None or not endpoint.login_is_role:
        made = "an external database" if not endpoint.login_is_role else "here"
        way = f"no copy made before the upgrade is {'kept of' if not endpoint.login_is_role else 'left'} {made}"
        back = f"To go back to version {__version__}, restore a backup made by it: `appliance restore FILE --replace`"
        return ApplianceError(f"{error}. {back} ({way})")
    lost = await readings_since(endpoint, copy.at)
    return ApplianceError(
        f"{error}. To go back to version {__version__}: `appliance restore {copy.path} --replace`, the copy made"
        f" before the upgrade, of {copy.at:%Y-%m-%d %H:%M:%S} UTC with schema {copy.schema:04}; {lost}"
    )


def _whole(data_dir: Path) -> list[Copy]:
    """Return the copies whose manifest is there, and is of the schema in their name."""
    try:
        copies = find(data_dir)
    except OSError as error:
        log.warning("the copies made before upgrades cannot be read", error=str(error))
        return []
    return [copy for copy in copies if _schema_in(copy.path) == copy.schema]


def _schema_in(path: Path) -> int | None:
    try:
        with open_backup(path, None) as stream:
            manifest = next(read_archive(stream))
    except (ApplianceError, OSError):
        return None
    return manifest.schema if isinstance(manifest, Manifest) else None


async def readings_since(endpoint: Endpoint, at: datetime) -> str:
    """Return, in words, how many readings were received since ``at`` and would be lost.

    The accounting says about how many, where counting takes too long or a newer schema has them elsewhere.
    """
    for statement, about in (("count_readings_since", ""), ("count_stored_since", "about ")):
        try:
            with trio.fail_after(COUNT_SECONDS):
                async with await connect(endpoint.conninfo(BACKUP)) as connection:
                    cursor = await connection.execute(STATEMENTS[statement], {"since": at})
                    return _words(int(require(await cursor.fetchone(), "a count")[0]), about)
        except (psycopg.Error, trio.TooSlowError) as error:
            log.debug("readings not counted", error=str(error).strip())
    return "how many readings received since would be lost cannot be counted"


def _words(count: int, about: str) -> str:
    return f"{about}{f'{count:,}' if count else 'no'} reading{'' if count == 1 else 's'} received since would be lost"
