"""Rows of silent sites: opened when a device of theirs is about to get an alert, then followed round by round."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from appliance.alerts.alert import AlertType, CloseReason, Status
from appliance.alerts.silence.rules import RulesOfTenants
from appliance.alerts.silence.served import Lapsed
from appliance.alerts.silence.site import RETURN_SECONDS, SiteCount, SitePolicy, SiteSilence
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.severity import Severity

SEVERITY = Severity.CRITICAL
"""A whole site is worse than any of its devices."""
TOGETHER = 64
"""Silent sites that are followed in one transaction."""

SiteKey = tuple[str, str]
"""(tenant_id, site_id)"""

STATEMENTS = statements.load("alert_silence")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _SilentSite:
    """A silent site, its row locked."""

    alert_id: int
    tenant_id: str
    site_id: str
    status: Status
    closed_at: datetime | None
    silence: SiteSilence
    since_return: float | None
    """Seconds of listening since a device came back last."""

    @property
    def key(self) -> SiteKey:
        """Return whose site it is."""
        return self.tenant_id, self.site_id


class Sites:
    """Opens, follows and closes the alerts of silent sites, inside of transactions of the timer."""

    def __init__(self, policy: SitePolicy, reopen_after: float) -> None:
        """``reopen_after``: seconds after which an alert that a person closed opens anew while the site is silent."""
        self._policy = policy
        self._reopen_after = reopen_after

    async def inhibitors(
        self, connection: Connection[Any], sites: Collection[SiteKey], lapsed: Lapsed, now: datetime
    ) -> Mapping[SiteKey, int]:
        """Return the alerts that stand for the devices of ``sites``; those of sites that are silent are opened."""
        if not sites:
            return {}
        found = await _list_silent(connection, sites)
        quiet = {
            key: count
            for key, count in (await _count(connection, set(sites) - set(found), lapsed)).items()
            if count.falls_silent(self._policy)
        }
        for key in sorted(quiet):
            await _open(connection, key, quiet[key], now)
        return found if not quiet else await _list_silent(connection, sites)

    async def follow(
        self, connection: Connection[Any], after: int, rules: RulesOfTenants, lapsed: Lapsed, now: datetime
    ) -> int | None:
        """Bring up to TOGETHER alerts after the id ``after`` up to date; return the last id, None if there are no more.

        Needs a transaction: the rows stay locked until its end.
        """
        locked = await _lock_silent(connection, after)
        counts = await _count(connection, {one.key for one in locked}, lapsed)
        for one in locked:
            count = counts.get(one.key, SiteCount(one.site_id, 0, 0, None))
            await self._move(connection, one, count, now, in_force=bool(rules.get(one.tenant_id)))
        return locked[-1].alert_id if len(locked) == TOGETHER else None

    async def _move(
        self, connection: Connection[Any], one: _SilentSite, count: SiteCount, now: datetime, *, in_force: bool
    ) -> None:
        """Close, reopen or update one alert."""
        before, after = one.silence, one.silence.follow(count, now)
        returned = after.returned_at == before.returned_at and (one.since_return or 0.0) >= RETURN_SECONDS
        expired = one.closed_at is not None and (now - one.closed_at).total_seconds() >= self._reopen_after
        if not in_force:
            await _close(connection, one, after, count.name, CloseReason.RULE_DISABLED, now)
        elif count.is_heard() or returned or expired:
            await _close(connection, one, after, count.name, CloseReason.CLEARED, now)
            if expired and not returned and count.falls_silent(self._policy):
                made = await _open(connection, one.key, count, now)
                parameters = {"tenant": one.tenant_id, "before": one.alert_id, "alert": made}
                await connection.execute(STATEMENTS["move_inhibited"], parameters)
        elif after != before:
            parameters = {"alert": one.alert_id, "summary": after.present(count.name), "now": now}
            details = {"details": _encode(after.details).decode()}
            await connection.execute(STATEMENTS["update_site"], {**parameters, **details})


async def _list_silent(connection: Connection[Any], sites: Collection[SiteKey]) -> dict[SiteKey, int]:
    cursor = await connection.execute(STATEMENTS["list_silent_sites"], _arrays(sites))
    return {(tenant_id, site_id): alert_id for tenant_id, site_id, alert_id in await cursor.fetchall()}


async def _lock_silent(connection: Connection[Any], after: int) -> list[_SilentSite]:
    parameters = {"after": after, "limit": TOGETHER}
    cursor = await connection.execute(STATEMENTS["lock_silent_sites"], parameters)
    return [
        _SilentSite(alert_id, tenant_id, site_id, Status(status), closed_at, SiteSilence.of(details), since_return)
        for alert_id, tenant_id, site_id, status, closed_at, details, since_return in await cursor.fetchall()
    ]


async def _count(connection: Connection[Any], sites: Collection[SiteKey], lapsed: Lapsed) -> dict[SiteKey, SiteCount]:
    if not sites:
        return {}
    unserved = await lapsed.of(connection, {tenant_id for tenant_id, _ in sites})
    cursor = await connection.execute(STATEMENTS["count_sites"], {**_arrays(sites), "lapsed": unserved})
    return {(tenant_id, site_id): SiteCount(*row) for tenant_id, site_id, *row in await cursor.fetchall()}


def _arrays(sites: Collection[SiteKey]) -> dict[str, list[str]]:
    ordered = sorted(sites)
    return {"tenants": [tenant_id for tenant_id, _ in ordered], "sites": [site_id for _, site_id in ordered]}


async def _open(connection: Connection[Any], key: SiteKey, count: SiteCount, now: datetime) -> int | None:
    """Return the id of the alert that was opened, None if another appliance opened one just before."""
    silence = SiteSilence.begin(count)
    parameters = {
        "tenant": key[0],
        "site": key[1],
        "fingerprint": f"{AlertType.SITE_SILENT.value.lower()}:{key[1]}",
        "severity": SEVERITY.value,
        "summary": silence.present(count.name),
        "details": _encode(silence.details).decode(),
        "started": count.since or now,
        "now": now,
    }
    row = await (await connection.execute(STATEMENTS["open_site"], parameters)).fetchone()
    return None if row is None else row[0]


async def _close(
    connection: Connection[Any], one: _SilentSite, after: SiteSilence, name: str, reason: CloseReason, now: datetime
) -> None:
    details = _encode(after.details).decode()
    parameters = {"alert": one.alert_id, "summary": after.past(name), "details": details, "reason": reason.value}
    await connection.execute(STATEMENTS["close_site"], {**parameters, "now": now})
