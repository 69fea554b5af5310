"""All that belongs to a tenant, as one archive: lists as CSV, configuration as JSON, readings by day.

Configuration is read in one statement, so that it is of one instant. Lists are read page by page in short transactions,
while they are sent: a download of hours holds no snapshot, and vacuum goes on; of readings those count that were
received by the beginning. No secret is in it: hashes, sealed values and links stay where they are.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from appliance.csv_text import BOM, lines
from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.devices.seats.import_file import joined_tags
from appliance.offboarding.archive import Archive

STATEMENTS = statements.load("offboarding_export")

PAGE_ROWS = 1000
"""Rows read in one transaction."""
FORMAT = 1
"""Of the archive, as its manifest says."""
READING_BYTES = 110
"""Bytes that a reading takes in its CSV file, as measured with two metrics."""
LEAST_ID = -1
LEAST_DIGEST = -(2**63)
EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
"""Before any row: where the first page of a list begins."""

OpenTransaction = Callable[[], AbstractAsyncContextManager[Connection[Any]]]
"""Opens a short read-only transaction in which rows of the tenant are seen."""


@dataclass(frozen=True, slots=True)
class ListPart:
    """A list in the archive: its statement, and the columns by whose values the next page is found."""

    name: str
    key: tuple[str, ...]
    first: tuple[Any, ...]
    """Values of the key before any row."""


LISTS = (
    ListPart("devices", ("device_id",), ("",)),
    ListPart("device_limits", ("device_id",), ("",)),
    ListPart("device_state", ("device_id",), ("",)),
    ListPart("alerts", ("alert_id",), (LEAST_ID,)),
    ListPart("alert_events", ("id",), (LEAST_ID,)),
    ListPart("deliveries", ("job_id",), (LEAST_ID,)),
    ListPart("delivery_attempts", ("attempt_id",), (LEAST_ID,)),
    ListPart("quarantine", ("id",), (LEAST_ID,)),
    ListPart("quarantine_counts", ("bucket_minute", "reason"), (EARLIEST, "")),
    ListPart("message_counts", ("minute", "instance"), (EARLIEST, "")),
    ListPart("subscription_audit", ("event_id",), (LEAST_ID,)),
    ListPart("audit", ("id",), (LEAST_ID,)),
    ListPart("telemetry_hourly", ("device_id", "metric", "hour"), ("", "", EARLIEST)),
)
TELEMETRY = ListPart("telemetry", ("device_id", "ts", "digest"), ("", EARLIEST, LEAST_DIGEST))

LEFT_OUT = (
    "passwords, tokens and keys of devices, people, integrations and links, in whatever form they are kept",
    "sessions, known browsers and stored answers of the API",
    "working state of the appliance: states of rules, conditions, marks of roll-ups, allowances",
)
"""What the archive leaves out, as its manifest says."""


@dataclass(frozen=True, slots=True)
class ExportSize:
    """How much there is, as far as the accounting knows."""

    devices: int
    readings: int
    alerts: int

    @property
    def bytes(self) -> int:
        """Return about how many bytes the readings are, unpacked."""
        return self.readings * READING_BYTES


async def size(connection: Connection[Any], tenant_id: str) -> ExportSize:
    """Return about how much an export would have."""
    cursor = await connection.execute(STATEMENTS["size"], {"tenant": tenant_id})
    devices, readings, alerts = require(await cursor.fetchone(), f"tenant {tenant_id}")
    return ExportSize(devices, max(0, readings), alerts)


async def record_export(connection: Connection[Any], tenant_id: str, context: ChangeContext) -> None:
    """Record in the audit that somebody takes an export."""
    entry = Entry(context.actor, "tenant.export", "tenant", tenant_id, tenant_id)
    await record(connection, entry, now=context.now)


def file_name(tenant_id: str, now: datetime) -> str:
    """Return the name of the archive; ids of tenants are safe in one."""
    return f"{tenant_id}-{now:%Y%m%d-%H%M%S}.zip"


async def archive(
    reading: OpenTransaction, tenant_id: str, *, now: datetime, version: str
) -> AsyncGenerator[bytes, None]:
    """Yield the archive. Raises NotFound before the first piece when there is no such tenant; psycopg.Error."""
    async with reading() as connection:
        cursor = await connection.execute(STATEMENTS["configuration"], {"tenant": tenant_id})
        configuration = dict(await cursor.fetchall())
        cursor = await connection.execute(STATEMENTS["telemetry_days"])
        days = [datetime.strptime(row[0], "%Y%m%d").replace(tzinfo=UTC) for row in await cursor.fetchall()]
    tenant = msgspec.json.decode(require(configuration["tenant"], f"tenant {tenant_id}"))
    packed = Archive(now)
    for name, pieces in _parts(reading, configuration, tenant_id, now):
        async with aclosing(packed.add(name, pieces)) as written:
            async for piece in written:
                yield piece
    for day in days:
        within = {"tenant": tenant_id, "until": now, "began": day, "ended": day + timedelta(days=1)}
        if await _has_readings(reading, within):
            name, pieces = f"telemetry/{day:%Y-%m-%d}.csv", _file(reading, TELEMETRY, within)
            async with aclosing(packed.add(name, pieces)) as written:
                async for piece in written:
                    yield piece
    async with aclosing(packed.add("manifest.json", _document(_manifest(tenant, packed, now, version)))) as written:
        async for piece in written:
            yield piece
    yield packed.end()


def _parts(
    reading: OpenTransaction, configuration: Mapping[str, str], tenant_id: str, now: datetime
) -> Iterator[tuple[str, AsyncIterator[tuple[bytes, int]]]]:
    """Yield the files before those of readings, each with its pieces."""
    for name, text in configuration.items():
        yield f"{name}.json", _document(text)
    for part in LISTS:
        yield f"{part.name}.csv", _file(reading, part, {"tenant": tenant_id, "until": now})


def _manifest(tenant: Mapping[str, Any], packed: Archive, now: datetime, version: str) -> str:
    """Return what is in the archive, in JSON."""
    manifest = {
        "format": FORMAT,
        "program": version,
        "tenant_id": tenant["tenant_id"],
        "name": tenant["name"],
        "time_zone": tenant["time_zone"],
        "exported_at": now,
        "times": "RFC 3339, UTC; days of readings are days of UTC",
        "files": [asdict(member) for member in packed.members],
        "left_out": LEFT_OUT,
    }
    return msgspec.json.encode(manifest).decode()


async def _has_readings(reading: OpenTransaction, within: dict[str, Any]) -> bool:
    async with reading() as connection:
        row = await (await connection.execute(STATEMENTS["has_readings"], within)).fetchone()
    return row is not None and row[0] is True


async def _document(text: str) -> AsyncIterator[tuple[bytes, int]]:
    """Yield a JSON document for people and programs, with the number of its entries."""
    value = msgspec.json.decode(text)
    yield msgspec.json.format(text.encode(), indent=2) + b"\n", len(value) if isinstance(value, list) else 1


async def _file(
    reading: OpenTransaction, part: ListPart, parameters: dict[str, Any]
) -> AsyncIterator[tuple[bytes, int]]:
    """Yield a CSV file: the heads, then each page of rows, read when it is needed."""
    after: Sequence[Any] = part.first
    begun = False
    while True:
        position = {f"after_{place}": value for place, value in enumerate(after, 1)}
        async with reading() as connection:
            cursor = await connection.execute(STATEMENTS[part.name], parameters | position | {"limit": PAGE_ROWS})
            heads = [column.name for column in cursor.description or ()]
            rows = await cursor.fetchall()
        if not begun:
            yield (BOM + lines([heads])).encode(), 0
            begun = True
        if rows:
            yield lines(_cells(heads, row) for row in rows).encode(), len(rows)
        if len(rows) < PAGE_ROWS:
            return
        after = [rows[-1][heads.index(column)] for column in part.key]


def _cells(heads: Sequence[str], row: Sequence[Any]) -> Sequence[Any]:
    """Return the cells of a row: tags as the import of devices takes them, times in UTC."""
    return [
        joined_tags(value) if head == "tags" else value.astimezone(UTC) if isinstance(value, datetime) else value
        for head, value in zip(heads, row, strict=True)
    ]
