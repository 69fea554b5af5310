"""Compares what should be open with what is, again and again.

What is in the database - seats, approvals, losses, integrations, peers, dropped days - is compared by one of the
appliances on it at a time. What is wrong with an appliance is compared by itself.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import trio

from appliance.alerts.conditions import integrations, store
from appliance.alerts.conditions.approval import approval_conditions
from appliance.alerts.conditions.capacity import capacity_conditions
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.losses import forget_losses, loss_conditions
from appliance.alerts.conditions.own import OwnConditions
from appliance.alerts.conditions.shared import (
    PEERS,
    peer_conditions,
    quarantine_conditions,
    retention_conditions,
)
from appliance.clock import Clock
from appliance.db.locks import lock_key
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.runtime.periodic import every

ROUND_SECONDS = 5.0
"""Seconds between two rounds: an alert is at most so late."""
LOCK_WAIT_MS = 500
"""Milliseconds that a statement waits for an alert that a person holds; the next round tries again."""
OUTLOOK_SECONDS = 300.0
"""Seconds for which an outlook on the disk is good."""
TURN_LOCK = lock_key("alerts", "conditions")

Holding = Callable[[Connection[Any]], Awaitable[list[Condition]]]
"""Says which conditions of a keeper hold, all of them."""
Outlook = Callable[[Connection[Any], datetime], Awaitable[int | None]]
"""Says after how many days readings fill the disk; None: it lasts, or that is not known."""


class ConditionWatcher:
    """Opens and closes the alerts of conditions that have a keeper."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        own: OwnConditions,
        outlook: Outlook,
        *,
        grace: timedelta,
        reopen_after: timedelta,
    ) -> None:
        """``grace``: of a subscription after its term; ``reopen_after``: after which a closed alert opens anew."""
        self._pool = pool
        self._clock = clock
        self._own = own
        self._outlook = outlook
        self._full_in: int | None = None
        self._outlook_at = float("-inf")
        self._grace = grace
        self._reopen_after = reopen_after

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a round now and every ROUND_SECONDS, for ever."""
        await every(ROUND_SECONDS, self._make_round, chore="alert conditions", task_status=task_status)

    async def _make_round(self) -> None:
        await self.look()

    async def look(self) -> None:
        """Make one round. Raises psycopg.Error and OSError while Postgres is away or a person holds an alert."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        await self._keep_own(now)
        await forget_losses(self._pool, now, trusted=self._clock.trusted)
        for keeper, holding in self._keepers(now).items():
            async with self._pool.connection() as connection, connection.transaction():
                if await _my_turn(connection):
                    await store.keep(
                        connection, keeper, await holding(connection), now, reopen_after=self._reopen_after
                    )
        async with self._pool.connection() as connection, connection.transaction():
            await _limit_waiting(connection)
            cursor = await connection.execute(store.STATEMENTS["select_orphans"], {"own": self._own.keeper})
            await store.end_conditions(connection, await cursor.fetchall(), now)

    async def _keep_own(self, now: datetime) -> None:
        """Compare what is wrong with this appliance, and tell of the outages of Postgres that are over."""
        own, outages = self._own, list(self._own.outages)
        async with self._pool.connection() as connection, connection.transaction():
            await _limit_waiting(connection)
            if self._clock.monotonic() - self._outlook_at >= OUTLOOK_SECONDS:
                self._full_in = await self._outlook(connection, now)
                self._outlook_at = self._clock.monotonic()
            holding = own.holding(self._full_in)
            if own.sure:
                await store.keep(connection, own.keeper, holding, now, reopen_after=self._reopen_after)
            else:
                await store.raise_conditions(
                    connection, holding, now, reopen_after=self._reopen_after, keeper=own.keeper
                )
            for outage in outages:
                condition = own.outage_condition(outage)
                await store.raise_condition(connection, condition, now, reopen_after=self._reopen_after)
                await store.end_condition(connection, *condition.key, now)
        own.told(outages)

    def _keepers(self, now: datetime) -> dict[str, Holding]:
        """Return what says which conditions hold, by keeper. While the clock is in doubt, nobody is called away."""
        settled = datetime.fromtimestamp(self._clock.settled(), UTC)
        keepers: dict[str, Holding] = {
            "approval": approval_conditions,
            "capacity": partial(capacity_conditions, settled=settled, grace=self._grace),
            "losses": loss_conditions,
            integrations.KEEPER: partial(integrations.integration_conditions, settled=settled),
        }
        if self._clock.trusted:
            keepers[PEERS] = partial(peer_conditions, now=now, here=self._own.instance)
            keepers["quarantine"] = partial(quarantine_conditions, now=now)
            keepers["retention"] = partial(retention_conditions, now=now)
        return keepers


async def _my_turn(connection: Connection[Any]) -> bool:
    await _limit_waiting(connection)
    cursor = await connection.execute(store.STATEMENTS["try_turn"], {"key": TURN_LOCK})
    return await cursor.fetchone() == (True,)


async def _limit_waiting(connection: Connection[Any]) -> None:
    await connection.execute(store.STATEMENTS["limit_lock_wait"], {"milliseconds": LOCK_WAIT_MS})
