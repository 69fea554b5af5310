"""The life of subscriptions: records the statuses that time has brought, and warns before terms end.

Nothing depends on it in time: what a subscription is worth follows from ``lifecycle.status_at``, so that a round that
is late makes records and warnings late, and no service longer or shorter. While the clock is in doubt it rests.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import structlog
import trio

from appliance import local_time
from appliance.alerts.conditions import store as conditions
from appliance.clock import Clock
from appliance.db import statements
from appliance.db.locks import lock_key
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.renewals import warnings
from appliance.renewals.warnings import HORIZON, Circumstances
from appliance.runtime.periodic import every
from appliance.subscriptions import rows, statuses
from appliance.subscriptions.lifecycle import Subscription

STATEMENTS = statements.load("subscription_warnings")

ROUND_SECONDS = 10.0
"""Seconds between two rounds: what time brings is so late at most."""
GATHER_SECONDS = 0.2
"""Seconds after a change in which others are awaited, before the subscriptions of its tenant are looked at."""
MOST_NAMED = 100
"""Tenants that are looked at by themselves; of more changes, all are."""
LOCK_WAIT_MS = 500
"""Milliseconds that a statement waits for a row that somebody holds; the next round tries again."""
TURN_LOCK = lock_key("subscriptions", "life")
KEEPER = "subscriptions"
"""The keeper of its alerts: it ends them."""
ONCE_A_TERM = timedelta(days=36_500)
"""After which a closed alert opens anew: a person who closes a warning gets the next step, and never the same one."""
WARNINGS_KEPT = timedelta(days=400)
"""How long steps of terms that are over stay."""

log = structlog.get_logger(__name__)


class _Notification(msgspec.Struct, frozen=True):
    """What the database tells of changes: of tenants and their subscriptions by tenant."""

    tenants: list[str] = []
    all: bool = False


@dataclass(slots=True)
class _Tenant:
    """A tenant, and what was read of its warnings."""

    zone: str | None = None
    served: bool = False
    rows: list[Subscription] = field(default_factory=list)
    given: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    renewed_at: dict[str, datetime] = field(default_factory=dict)
    kept: dict[str, tuple[str, dict[str, Any]] | None] = field(default_factory=dict)

    def about(self, settled: datetime, grace: timedelta) -> Circumstances:
        zone = local_time.zone_of(self.zone)
        return Circumstances(settled, zone, self.served, grace, self.given, self.renewed_at, self.kept)


class SubscriptionLife:
    """Follows the life of all subscriptions of the database; of several appliances one works at a time."""

    def __init__(self, pool: Pool, clock: Clock, *, grace: timedelta) -> None:
        """``grace``: of a subscription after its term."""
        self._pool = pool
        self._clock = clock
        self._grace = grace
        self._changed: set[str] = set()
        self._wake = trio.Event()
        self._missed = self._seen = 0
        self._due = float("-inf")

    def changed(self, payload: str) -> None:
        """Take a notification of the registry: tenants whose subscriptions changed, by a renewal say, are looked at."""
        try:
            named = msgspec.json.decode(payload, type=_Notification)
        except msgspec.MsgspecError:
            self.forget()
            return
        self._changed.update(named.tenants)
        if named.all or len(self._changed) > MOST_NAMED:
            self.forget()
        elif self._changed:
            self._wake.set()

    def forget(self) -> None:
        """Look at all tenants: changes may have been missed."""
        self._missed += 1
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a round now and every ROUND_SECONDS, for ever, and one of the tenants that changed when they do."""
        await every(
            ROUND_SECONDS, self._make_round, chore="life of subscriptions", woken=self._woken, task_status=task_status
        )

    async def _woken(self) -> None:
        await self._wake.wait()
        await trio.sleep(GATHER_SECONDS)

    async def _make_round(self) -> float:
        self._wake, named, self._changed = trio.Event(), self._changed, set()
        missed, started = self._missed, self._clock.monotonic()
        if missed != self._seen or started >= self._due:
            await self.look()
            self._seen, self._due = missed, started + ROUND_SECONDS
        else:  # if it fails, the next round of all is soon enough
            await self.look(sorted(named))
        return max(self._due - self._clock.monotonic(), 0.0)

    async def look(self, tenants: Sequence[str] | None = None) -> None:
        """Look once at some tenants, or at all. Raises psycopg.Error and OSError while Postgres is away."""
        if not self._clock.trusted:
            return
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        settled = datetime.fromtimestamp(self._clock.settled(), UTC)
        async with self._pool.connection() as connection:
            found: dict[str, _Tenant] = {}
            for wanted in (None,) if tenants is None else tenants:
                found |= await _read(connection, wanted, settled)
            for tenant_id, tenant in found.items():
                await trio.lowlevel.checkpoint()  # of many tenants, ingest has its turn between two
                if not self._behind(tenant, settled):
                    continue
                try:
                    async with connection.transaction():
                        if not await _my_turn(connection):
                            return
                        await self._serve(connection, tenant_id, now, settled)
                except psycopg.errors.LockNotAvailable as error:
                    log.debug("a subscription waits: somebody holds its rows", tenant=tenant_id, error=str(error))

    def _behind(self, tenant: _Tenant, settled: datetime) -> bool:
        """Return whether anything of the tenant is to be written."""
        if statuses.behind(tenant.rows, settled, self._grace):
            return True
        return bool(warnings.changes(tenant.rows, tenant.about(settled, self._grace)))

    async def _serve(self, connection: Connection[Any], tenant_id: str, now: datetime, settled: datetime) -> None:
        """Record and warn for one tenant, from what its rows say once they are locked."""
        locked = await rows.lock(connection, [tenant_id])
        tenant = (await _read(connection, tenant_id, settled)).get(tenant_id, _Tenant())
        present = await statuses.record_statuses(connection, locked, now=now, settled=settled, grace=self._grace)
        found = warnings.changes(present, tenant.about(settled, self._grace))
        await _write(connection, tenant_id, found, now)


async def forget_over(connection: Connection[Any], settled: datetime) -> None:
    """Drop the requests whose keys are free again, and what was warned of in terms that are long over."""
    await connection.execute(STATEMENTS["forget_requests"], {"now": settled})
    await connection.execute(STATEMENTS["forget_terms"], {"before": settled - WARNINGS_KEPT})


async def _my_turn(connection: Connection[Any]) -> bool:
    wait = {"milliseconds": LOCK_WAIT_MS}
    await connection.execute(conditions.STATEMENTS["limit_lock_wait"], wait)
    cursor = await connection.execute(conditions.STATEMENTS["try_turn"], {"key": TURN_LOCK})
    return await cursor.fetchone() == (True,)


async def _read(connection: Connection[Any], tenant_id: str | None, settled: datetime) -> dict[str, _Tenant]:
    """Return the tenants that have subscriptions or alerts about them; None: all of them."""
    found: dict[str, _Tenant] = defaultdict(_Tenant)
    every_row = rows.select_all(connection) if tenant_id is None else rows.select(connection, [tenant_id])
    for row in await every_row:
        found[row.tenant_id].rows.append(row)
    parameters = {"tenant": tenant_id, "keeper": KEEPER, "until": settled + HORIZON}
    for owner, fingerprint, summary, details in await _rows(connection, "select_kept", parameters):
        found[owner].kept[fingerprint] = None if summary is None else (summary, details)
    for owner, subscription_id, days in await _rows(connection, "select_given", parameters):
        found[owner].given[subscription_id].add(days)
    for owner, subscription_id, bought_at in await _rows(connection, "select_renewed", parameters):
        found[owner].renewed_at[subscription_id] = bought_at.astimezone(UTC)
    for owner, zone, served in await _rows(connection, "select_tenants", parameters):
        if owner in found:
            found[owner].zone, found[owner].served = zone, served
    return found


async def _rows(connection: Connection[Any], name: str, parameters: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
    return await (await connection.execute(STATEMENTS[name], parameters)).fetchall()


async def _write(connection: Connection[Any], tenant_id: str, found: warnings.Changes, now: datetime) -> None:
    await conditions.end_conditions(connection, [(tenant_id, one) for one in found.ended], now)
    await conditions.supersede_conditions(connection, [(tenant_id, one) for one in found.superseded], now)
    for row, days in found.forgotten:
        await connection.execute(STATEMENTS["forget_given"], _term(row) | {"days": days})
    for row, step in found.given:
        await connection.execute(STATEMENTS["insert_given"], _term(row) | {"days": step, "now": now})
    await conditions.raise_conditions(connection, found.raised, now, reopen_after=ONCE_A_TERM, keeper=KEEPER)
    for row, step in found.given:
        log.info("subscription ends", subscription=row.subscription_id, tenant=tenant_id, days=step)


def _term(row: Subscription) -> dict[str, Any]:
    return {"tenant": row.tenant_id, "subscription": row.subscription_id, "term_start": row.term_start}
