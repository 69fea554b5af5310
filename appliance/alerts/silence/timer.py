"""The timer that opens and closes what silence causes, for all tenants, in slices that several appliances share."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import structlog
import trio
from psycopg import errors

from appliance.alerts.silence import rules as silence_rules
from appliance.alerts.silence import store
from appliance.alerts.silence.judgement import Conclusions, Opening, conclude, held_back
from appliance.alerts.silence.rules import RulesOfTenants
from appliance.alerts.silence.served import Lapsed
from appliance.alerts.silence.site import SitePolicy
from appliance.alerts.silence.sites import Sites
from appliance.alerts.silence.store import DeviceKey
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.presence import Presence
from appliance.runtime.periodic import First, every

ROUND_SECONDS = 5.0
"""Seconds between two rounds: as often as the listening periods move on, by which silence is counted."""
HEALED_WITHIN = 1.0
"""Seconds by which settled time may be behind. Further behind, a doubt is over and its times are not healed yet."""
SILENT = frozenset({Presence.STALE, Presence.OFFLINE})
PUT_OFF = (errors.LockNotAvailable, errors.DeadlockDetected)
"""What leaves a slice to the next round: a person is changing a rule or a device."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SilencePolicy:
    """What of the configuration the timer needs."""

    site: SitePolicy
    reopen_after: float
    """Seconds after which an alert that a person closed opens anew while its silence lasts."""
    grace: timedelta
    """The setting ``grace_days``."""


class SilenceTimer:
    """Makes a round every ROUND_SECONDS."""

    def __init__(self, pool: Pool, clock: Clock, policy: SilencePolicy) -> None:
        self._pool = pool
        self._clock = clock
        self._policy = policy
        self._sites = Sites(policy.site, policy.reopen_after)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make rounds for ever."""
        await every(ROUND_SECONDS, self.make_round, chore="silence", first=First.AT_ONCE, task_status=task_status)

    async def make_round(self) -> None:
        """Judge every device once. Raises what the pool raises when Postgres is away.

        First the silent sites, so that a device whose site is heard again stands for itself in the same round.
        """
        if not self._settled():
            return
        lapsed = Lapsed(_moment(self._clock.settled()), self._policy.grace)
        async with self._pool.connection() as connection:
            rules = await silence_rules.load(connection)
            await self._follow_sites(connection, rules, lapsed)
            slices = await store.list_slices(connection)
            for first, until in pairwise([*slices, None]):
                if first is None or not self._settled():
                    return
                await self._judge(connection, first, until, rules, lapsed)

    def _settled(self) -> bool:
        """Return whether the clock is right, and what a wrong one wrote is healed."""
        return self._clock.trusted and self._clock.settled() >= self._clock.now() - HEALED_WITHIN

    async def _follow_sites(self, connection: Connection[Any], rules: RulesOfTenants, lapsed: Lapsed) -> None:
        after: int | None = 0
        while after is not None:
            async with connection.transaction():
                after = await self._sites.follow(connection, after, rules, lapsed, _moment(self._clock.now()))

    async def _judge(
        self,
        connection: Connection[Any],
        first: DeviceKey,
        until: DeviceKey | None,
        rules: RulesOfTenants,
        lapsed: Lapsed,
    ) -> None:
        """Judge a slice, unless another appliance does."""
        now = _moment(self._clock.now())
        try:
            async with connection.transaction():
                if await store.lock_slice(connection, first):
                    own = _between(rules, first, until)
                    devices = await store.list_quiet_devices(connection, first, until, own, now)
                    await self._apply(connection, conclude(devices, own, now), lapsed, now)
        except PUT_OFF as error:
            log.debug("a slice of devices is put off", first=first, error=str(error).strip())

    async def _apply(self, connection: Connection[Any], found: Conclusions, lapsed: Lapsed, now: datetime) -> None:
        """Write what was concluded: what locks rules and devices before what locks alerts, as everybody does."""
        devices = [opening.device for opening in found.openings] + [device for device, _ in found.freed]
        await lapsed.read(connection, {device.tenant_id for device in devices})
        served = {
            (device.tenant_id, device.device_id)
            for device in devices
            if device.served and lapsed.serves(device.tenant_id, device.subscription_id)
        }
        openings = [one for one in found.openings if (one.device.tenant_id, one.device.device_id) in served]
        openings = await self._not_held_back(connection, openings, now)
        sites = {
            (one.device.tenant_id, one.device.site_id)
            for one in openings
            if one.device.site_id is not None and one.device.presence in SILENT
        }
        inhibitors = await self._sites.inhibitors(connection, sites, lapsed, now)
        ready = [
            (
                one,
                inhibitors.get((one.device.tenant_id, one.device.site_id or ""))
                if one.device.presence in SILENT
                else None,
            )
            for one in openings
        ]
        await store.open_alerts(connection, ready, now)
        await store.close_alerts(connection, found.ended, now)
        freed = [alert for device, alert in found.freed if (device.tenant_id, device.device_id) in served]
        await store.release_alerts(connection, freed, now)

    async def _not_held_back(
        self, connection: Connection[Any], openings: Sequence[Opening], now: datetime
    ) -> list[Opening]:
        """Return the openings without those that a person has closed."""
        if not openings:
            return []
        newest = await store.newest_alerts(connection, openings)
        reopen_after = self._policy.reopen_after
        return [
            opening
            for opening in openings
            if not held_back(opening, newest.get((opening.rule.tenant_id, opening.fingerprint)), now, reopen_after)
        ]


def _between(rules: RulesOfTenants, first: DeviceKey, until: DeviceKey | None) -> RulesOfTenants:
    """Return the rules of the tenants that have devices in a slice."""
    tenants = list(rules)
    last = len(tenants) if until is None else bisect_right(tenants, until[0])
    return {tenant_id: rules[tenant_id] for tenant_id in tenants[bisect_left(tenants, first[0]) : last]}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
