"""Presence: whether a device sends messages as expected. Derived here from its traffic; nobody can set it.

Theory. A device has an expected interval: set by a person, or learned (``interval_estimator``). Silence counts only
while the appliance listened: time in which the appliance, Postgres or the broker's link was away does not count, and
after it each device has its full interval again. So the silence of a device is the longest period without a break that
was listened to since a message of it was last accepted, and::

    NEW       nothing ever came of it: it may not be installed yet, and nothing is wrong
    REFUSED   its newest message was not accepted: it talks, and is not silent (until it stops talking, too)
    OFFLINE   it said `offline` last (``offline_statuses``), or is silent for 10 intervals and ``offline_after``
    STALE     it is silent for 3 intervals and ``stale_after``
    ONLINE    everything else

Of several appliances on one database each has devices of its own: silence counts as far as the one listened that heard
the device last (``device_state.heard_by``). The devices of one that is away keep the presence that they had; that it is
away is told instead (``appliance.peers``).

A message refused by the rate limit makes no device REFUSED: others of the same device are accepted. A period ends where
the clocks disagree (``listening``), so a wall clock that jumps makes no device silent.

The function ``presence_of`` of the database says the same for filters and counts over many devices::

    FROM device_registry AS d LEFT JOIN device_state AS s USING (tenant_id, device_id)
    JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
    WHERE presence_of(s, d.interval_seconds, w) = 'STALE'

A test holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STALE_INTERVALS = 3
OFFLINE_INTERVALS = 10

STATEMENTS = statements.load("presence")


class Presence(StrEnum):
    """Whether a device sends messages as expected."""

    ONLINE = "ONLINE"
    STALE = "STALE"
    OFFLINE = "OFFLINE"
    REFUSED = "REFUSED"
    NEW = "NEW"


@dataclass(frozen=True, slots=True)
class Traffic:
    """The times of a device's messages; None is never."""

    seen_at: datetime | None = None
    """When a message of it was last accepted."""
    heard_at: datetime | None = None
    """When anything of it was last received."""
    refused_at: datetime | None = None
    """When a message of it was last not accepted, by any check but the rate limit."""
    offline_at: datetime | None = None
    """When it last said `offline`, if that counts; its next message ends it."""
    learned_interval: float | None = None
    """Seconds between its messages, as far as they show."""


@dataclass(frozen=True, slots=True)
class ListeningPeriod:
    """A period in which messages were taken without a break."""

    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class PresenceThresholds:
    """Silence in seconds below which no device is called STALE or OFFLINE, however short its interval."""

    stale_after: float = 90.0
    offline_after: float = 300.0


def silence_since(moment: datetime, listening: Sequence[ListeningPeriod]) -> float:
    """Return the seconds of silence after ``moment`` within ``listening``, whose periods do not overlap."""
    heard_out = (stretch.ended_at - max(stretch.began_at, moment) for stretch in listening)
    return max(0.0, *(stretch.total_seconds() for stretch in heard_out)) if listening else 0.0


def presence_at(
    traffic: Traffic, interval: float | None, listening: Sequence[ListeningPeriod], limits: PresenceThresholds
) -> Presence:
    """Return the presence of a device at the end of ``listening``; ``interval`` is what a person set, in seconds."""
    expected = interval if interval is not None else traffic.learned_interval or 0.0
    offline = max(OFFLINE_INTERVALS * expected, limits.offline_after)
    seen_at, refused_at, offline_at = traffic.seen_at, traffic.refused_at, traffic.offline_at
    newest = max((at for at in (seen_at, traffic.heard_at, refused_at) if at is not None), default=None)
    if newest is None:
        return Presence.NEW if offline_at is None else Presence.OFFLINE
    if offline_at is not None and offline_at >= newest:
        return Presence.OFFLINE
    if refused_at is not None and (seen_at is None or refused_at > seen_at):
        silent = silence_since(traffic.heard_at or refused_at, listening) >= offline
        return Presence.OFFLINE if silent else Presence.REFUSED
    silence = silence_since(seen_at or newest, listening)
    if silence >= offline:
        return Presence.OFFLINE
    return Presence.STALE if silence >= max(STALE_INTERVALS * expected, limits.stale_after) else Presence.ONLINE


async def counts(connection: Connection[Any], tenant_id: str | None) -> dict[Presence, int]:
    """Return the number of ACTIVE devices of a tenant (None: of all) by presence; every presence is a key."""
    cursor = await connection.execute(STATEMENTS["count_presences"], {"tenant": tenant_id})
    found = {Presence(name): number for name, number in await cursor.fetchall()}
    return {presence: found.get(presence, 0) for presence in Presence}


async def limits(connection: Connection[Any]) -> PresenceThresholds:
    """Return the limits in force."""
    row = await (await connection.execute(STATEMENTS["select_limits"])).fetchone()
    return PresenceThresholds() if row is None else PresenceThresholds(*row)
