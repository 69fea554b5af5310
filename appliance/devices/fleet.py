"""The devices of a fleet: searched, filtered, sorted and paged; counted; or one by itself.

Enters: a connection and a :class:`DeviceFilter`. Leaves: :class:`FleetDevice`. Never: a change. The role may be
``appliance_web`` with its tenant set; another tenant's device is not there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from appliance.db import statements
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.devices.description import OwnLimits
from appliance.devices.device import Device, DeviceStatus
from appliance.devices.live.presence import Presence
from appliance.devices.seats.changes import device_of

STATEMENTS = statements.load("fleet")

MAX_WORDS = 8
"""Words of a search that count."""


class Sort(StrEnum):
    """The order of a list; devices that wait for approval come first."""

    DEVICE = "device"
    NAME = "name"
    SITE = "site"
    LAST_SEEN = "last_seen"
    """Devices never seen count as the longest silent."""
    CREATED = "created"


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """A filter of devices: each field narrows the choice; one of several values is enough. Empty matches all."""

    tenant_id: str | None = None
    """None: of all tenants, for operators."""
    search: str = ""
    """Words that must all occur in the id, the name, the place or the tags."""
    presences: Sequence[Presence] = ()
    """Of ACTIVE devices only: the others are not expected to send."""
    statuses: Sequence[DeviceStatus] = ()
    sites: Sequence[str] = ()
    """``""`` are devices without a site."""
    subscriptions: Sequence[str] = ()
    """``""`` are devices without a seat."""
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FleetPosition:
    """A position in a sorted list, after one device: where the next page begins."""

    waiting: bool
    key: str
    tenant_id: str
    device_id: str


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """One device with all that is known of it except its readings; a time is None if the event never happened."""

    device: Device
    site_name: str | None
    created_at: datetime
    version: datetime
    """When it was last changed; an edit names the version it started from."""
    limits: OwnLimits
    presence: Presence
    last_ts: datetime | None
    """The newest time any of its readings carries."""
    last_seen_at: datetime | None
    """When a message of it was last accepted."""
    last_heard_at: datetime | None
    """When anything of it was last received."""
    refused_at: datetime | None
    refused_reason: str | None
    """The reason code of what was last not accepted."""
    ts_adjusted_at: datetime | None
    """When it last sent an impossible time."""
    null_metrics: int
    """Number of metrics it sent as null."""
    unplaced: int
    """Number of its messages with a part of a position, or an impossible one."""
    learned_interval: float | None
    """Seconds between its messages, learned from them."""
    latest: Mapping[str, Any] = field(hash=False)
    """Metric -> newest value."""
    own_credential: bool
    """Without a credential of its own it publishes as the claim user of its tenant."""
    switch_at: datetime | None
    """When its staged password takes over, if a time is set."""

    @property
    def interval(self) -> float | None:
        """Seconds between its messages as they are expected: set by a person, else learned."""
        return self.device.interval if self.device.interval is not None else self.learned_interval


@dataclass(frozen=True, slots=True)
class FleetPage:
    """A page of a list: its rows, how many devices match in all, and where the next page begins, if there is one."""

    members: Sequence[FleetDevice]
    total: int
    next: FleetPosition | None


@dataclass(frozen=True, slots=True)
class DeviceCounts:
    """How many devices there are of each kind, most first; ``""`` are those without a site or a seat."""

    statuses: Mapping[DeviceStatus, int]
    presences: Mapping[Presence, int]
    """Of ACTIVE devices."""
    sites: Mapping[str, int]
    subscriptions: Mapping[str, int]

    @property
    def total(self) -> int:
        """Return the number of all devices."""
        return sum(self.statuses.values())

    @property
    def waiting(self) -> int:
        """Return the number of devices that wait for approval."""
        return self.statuses.get(DeviceStatus.PENDING, 0)


@dataclass(frozen=True, slots=True)
class SiteCounts:
    """The counts of the devices of one site; ``site_id`` is empty for devices without a site."""

    tenant_id: str
    site_id: str
    name: str
    active: int
    waiting: int
    """For approval."""
    shut: int
    """Inactive or revoked."""
    online: int
    stale: int
    offline: int
    refused: int
    new: int
    """Never heard."""
    seen: int
    """Devices of which a message was ever accepted."""

    @property
    def total(self) -> int:
        """Return the number of all devices."""
        return self.active + self.waiting + self.shut


async def list_page(
    connection: Connection[Any],
    wanted: DeviceFilter,
    *,
    sort: Sort = Sort.DEVICE,
    down: bool = False,
    limit: int,
    after: FleetPosition | None = None,
) -> FleetPage:
    """Return a page of the devices that match, after ``after``; ``down`` reverses the order."""
    parameters = {
        "tenant": wanted.tenant_id,
        "patterns": [_pattern(word) for word in wanted.search.lower().replace("\0", "").split()[:MAX_WORDS]] or None,
        "presences": [presence.value for presence in wanted.presences] or None,
        "statuses": [status.value for status in wanted.statuses] or None,
        "sites": list(wanted.sites) or None,
        "subscriptions": list(wanted.subscriptions) or None,
        "tags": list(wanted.tags) or None,
        "sort": sort.value,
        "down": down,
        "limit": limit + 1,
        "after_waiting": after and after.waiting,
        "after_key": after and after.key,
        "after_tenant": after and after.tenant_id,
        "after_device": after and after.device_id,
    }
    cursor = await connection.execute(STATEMENTS["list_fleet"], parameters, prepare=False)
    rows = await cursor.fetchall()
    members = [_member(row) for row in rows[:limit]]
    behind = None
    if len(rows) > limit:
        *_, waiting, key, _ = rows[limit - 1]
        behind = FleetPosition(waiting, key, members[-1].device.tenant_id, members[-1].device.device_id)
    return FleetPage(members, rows[0][-1] if rows else 0, behind)


async def get(connection: Connection[Any], tenant_id: str, device_id: str) -> FleetDevice:
    """Return one device. Raises NotFound, also for a deleted one."""
    cursor = await connection.execute(STATEMENTS["get_of_fleet"], {"tenant": tenant_id, "device": device_id})
    return _member(require(await cursor.fetchone(), f"device {device_id}"))


async def named(connection: Connection[Any], keys: Sequence[tuple[str, str]]) -> list[FleetDevice]:
    """Return those of the devices (tenant and id) that are there, in no order."""
    parameters = {"tenants": [tenant_id for tenant_id, _ in keys], "devices": [device_id for _, device_id in keys]}
    cursor = await connection.execute(STATEMENTS["named_of_fleet"], parameters)
    return [_member(row) for row in await cursor.fetchall()]


async def allowance_full_at(connection: Connection[Any], tenant_id: str, device_id: str) -> datetime | None:
    """Return when its token bucket and its allowance are both full, as of the last write; None if nothing was noted."""
    parameters = {"tenant": tenant_id, "device": device_id}
    row = await (await connection.execute(STATEMENTS["allowance_full_at"], parameters)).fetchone()
    return None if row is None else row[0]


async def device_counts(connection: Connection[Any], tenant_id: str | None) -> DeviceCounts:
    """Count the devices of a tenant (None: of all tenants) by the values of each filter."""
    cursor = await connection.execute(STATEMENTS["count_fleet"], {"tenant": tenant_id}, prepare=False)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for kind, value, number in await cursor.fetchall():
        counts[kind][value] = number
    counts["presence"].pop("", None)  # of devices that are not expected to send
    return DeviceCounts(
        {DeviceStatus(name): number for name, number in counts["status"].items()},
        {presence: counts["presence"].get(presence.value, 0) for presence in Presence},
        counts["site"],
        counts["subscription"],
    )


async def by_site(connection: Connection[Any], tenant_id: str | None) -> list[SiteCounts]:
    """Count the devices of a tenant (None: of all) by site, in the order of tenants and names."""
    cursor = await connection.execute(STATEMENTS["count_by_site"], {"tenant": tenant_id}, prepare=False)
    return [SiteCounts(*row) for row in await cursor.fetchall()]


async def open_claim_users(connection: Connection[Any], tenant_id: str | None) -> list[str]:
    """Return the tenants whose claim user is open, by id: with its password, new devices can register."""
    cursor = await connection.execute(STATEMENTS["open_claim_users"], {"tenant": tenant_id})
    return [row[0] for row in await cursor.fetchall()]


def _pattern(word: str) -> str:
    """Return the LIKE pattern for ``word`` anywhere."""
    for special in ("\\", "%", "_"):
        word = word.replace(special, f"\\{special}")
    return f"%{word}%"


def _member(row: tuple[Any, ...]) -> FleetDevice:
    """Return the device of a row, its columns in the order of ``get_of_fleet``."""
    site_name, created_at, version, rate, burst, presence = row[9:15]
    limits = OwnLimits(rate, None if burst is None else int(burst))
    return FleetDevice(device_of(row[:9]), site_name, created_at, version, limits, Presence(presence), *row[15:27])
