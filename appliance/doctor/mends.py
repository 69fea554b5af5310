"""The few faults that the doctor mends on request: each by a function that others use too, safe to do twice.

What it changed and its audit row are one transaction; a file's mode, which no transaction holds, is changed before its
commit, and is right after either end.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from appliance.config import Config
from appliance.db import collations
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.partitions import ensure_partitions
from appliance.db.roles import INGEST, OWNER
from appliance.db.trio_psycopg import Connection
from appliance.doctor import files
from appliance.doctor.check import Result
from appliance.ingest.telemetry.partitions import DAYS_AHEAD
from appliance.service_clock.clock import ServiceClock


@dataclass(frozen=True, slots=True)
class Mend:
    """What a mend does, in words, and its function, which returns what it changed."""

    announcement: str
    apply: Callable[["MendResources"], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class MendResources:
    """What a mend works on: a connection of ``appliance_ingest``, the configuration, and the clock."""

    connection: Connection[Any]
    config: Config
    clock: ServiceClock


async def _make_partitions(resources: MendResources) -> Mapping[str, Any]:
    today = datetime.fromtimestamp(resources.clock.now(), UTC).date()
    first = today - timedelta(days=resources.config.retention.days)
    return {"made": await ensure_partitions(resources.connection, first, today + timedelta(days=DAYS_AHEAD))}


async def _rebuild_indexes(resources: MendResources) -> Mapping[str, Any]:
    await resources.connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
    rebuilt = await collations.rebuild(resources.connection)
    await resources.connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(INGEST)))
    return {"rebuilt": rebuilt}


async def _close_files(resources: MendResources) -> Mapping[str, Any]:
    folder = resources.config.data_dir
    return {"closed": [str(path.relative_to(folder)) for path in files.close(list(files.modes(folder)))]}


MENDS: Mapping[str, Mend] = {
    "partitions": Mend("make the missing partitions of telemetry", _make_partitions),
    "collations": Mend("build the indexes anew whose order of text has changed", _rebuild_indexes),
    "permissions": Mend("close the files of data_dir to other users of this machine", _close_files),
}


def possible(results: Sequence[Result]) -> list[str]:
    """Return the names of the mends that ``results`` ask for."""
    return [result.mend for result in results if result.mend is not None]


async def mend(
    names: Sequence[str], resources: MendResources, context: ChangeContext
) -> Mapping[str, Mapping[str, Any]]:
    """Mend what is named, each in a transaction with its audit row; return what each changed. Raises OSError."""
    done = {}
    for name in names:
        async with resources.connection.transaction():
            changed = await MENDS[name].apply(resources)
            entry = Entry(context.actor, "peer.mend", "appliance", name, None, None, changed)
            await record(resources.connection, entry, now=context.now)
        done[name] = changed
    return done
