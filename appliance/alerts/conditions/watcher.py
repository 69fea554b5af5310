"""Compares what should be open with what is, again and again.

What is in the database - seats, approvals, losses - is compared by one of the appliances on it at a time.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import trio

from appliance.alerts.conditions import store
from appliance.alerts.conditions.approval import approval_conditions
from appliance.alerts.conditions.capacity import capacity_conditions
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.losses import forget_losses, loss_conditions
from appliance.clock import Clock
from appliance.db.locks import lock_key
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.runtime.periodic import every

ROUND_SECONDS = 5.0
"""Seconds between two rounds: an alert is at most so late."""
LOCK_WAIT_MS = 500
"""Milliseconds that a statement waits for an alert that a person holds; the next round tries again."""
TURN_LOCK = lock_key("alerts", "conditions")

Holding = Callable[[Connection[Any]], Awaitable[list[Condition]]]
"""Says which conditions of a keeper hold, all of them."""


class ConditionWatcher:
    """Opens and closes the alerts of conditions that have a keeper."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        *,
        grace: timedelta,
        reopen_after: timedelta,
    ) -> None:
        """``grace``: of a subscription after its term; ``reopen_after``: after which a closed alert opens anew."""
        self._pool = pool
        self._clock = clock
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
        await forget_losses(self._pool, now, trusted=self._clock.trusted)
        for keeper, holding in self._keepers().items():
            async with self._pool.connection() as connection, connection.transaction():
                if await _my_turn(connection):
                    await store.keep(
                        connection, keeper, await holding(connection), now, reopen_after=self._reopen_after
                    )

    def _keepers(self) -> dict[str, Holding]:
        """Return what says which conditions hold, by keeper."""
        settled = datetime.fromtimestamp(self._clock.settled(), UTC)
        return {
            "approval": approval_conditions,
            "capacity": partial(capacity_conditions, settled=settled, grace=self._grace),
            "losses": loss_conditions,
        }


async def _my_turn(connection: Connection[Any]) -> bool:
    await connection.execute(store.STATEMENTS["limit_lock_wait"], {"milliseconds": LOCK_WAIT_MS})
    cursor = await connection.execute(store.STATEMENTS["try_turn"], {"key": TURN_LOCK})
    return await cursor.fetchone() == (True,)
