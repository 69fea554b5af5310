"""What takes the room on the disk: the parts of its bar, and in more detail those of the data folder. Bytes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from appliance.web.system.reader import SystemView

TELEMETRY, ROLLUPS, QUARANTINE = ("telemetry",), ("telemetry_hourly", "rollup"), ("quarantine",)
"""How the names of tables begin."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the disk in use; ``x`` and ``width`` in percent of the file system."""

    fill: str
    label: str
    bytes: int
    x: float
    width: float


def disk_shares(view: SystemView) -> Iterator[Share]:
    """Yield the parts of the disk in use; the rest of the bar is free."""
    disk = view.disk
    if disk is None:
        return
    telemetry, rollups, held = _tables(view)
    parts = [
        ("f-accent", "Telemetry", telemetry),
        ("f-s2", "Roll-ups", rollups),
        ("f-s4", "Quarantine", held),
        ("f-s3", "Rest of Postgres", max(disk.postgres - telemetry - rollups - held, 0)),
        ("f-s5", "Broker and files", disk.broker + disk.rest),
        ("f-low", "Reserve", disk.reserve),
    ]
    others = disk.total - disk.free - sum(size for *_, size in parts)
    x = 0.0
    for fill, label, size in [*parts, ("f-idle", "Other", max(others, 0))]:
        width = 100 * size / disk.total
        yield Share(fill, label, size, x, width)
        x += width


def parts_of_data(view: SystemView) -> list[tuple[str, int]]:
    """Return what the data folder holds, the largest first: what to look at where no day of readings can go."""
    disk = view.disk
    if disk is None:
        return []
    _, rollups, held = _tables(view)
    days = () if view.retention is None else view.retention.days
    today = datetime.fromtimestamp(view.now, UTC).date()
    present = sum(one.bytes for one in days if one.day >= today)
    earlier = sum(one.bytes for one in days if one.day < today)
    parts = [
        ("Readings of today", present),
        ("Earlier readings", earlier),
        ("Roll-ups", rollups),
        ("Quarantine", held),
        ("Log of Postgres", disk.postgres_log),
        ("Rest of Postgres", max(disk.postgres - disk.postgres_log - present - earlier - rollups - held, 0)),
        ("Queue of the broker", disk.broker),
        ("Reserve for a full disk", disk.reserve),
        ("Replaced by a restore", disk.aside),
        ("Other files", disk.rest - disk.aside),
    ]
    return sorted(((label, size) for label, size in parts if size), key=lambda part: -part[1])


def _tables(view: SystemView) -> tuple[int, int, int]:
    """Return the bytes of readings, of roll-ups, and of the quarantine."""
    tables = {} if view.database is None else {table.name: table.bytes for table in view.database.tables}
    return _of(tables, TELEMETRY), _of(tables, ROLLUPS), _of(tables, QUARANTINE)


def _of(tables: Mapping[str, int], names: Sequence[str]) -> int:
    """Return the bytes of the tables whose names begin with one of ``names``; roll-ups do not count as telemetry."""
    return sum(
        size
        for table, size in tables.items()
        if table.startswith(tuple(names)) and (names is not TELEMETRY or not table.startswith(ROLLUPS))
    )
