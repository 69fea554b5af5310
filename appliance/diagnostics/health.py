"""Whether Postgres and the schema are usable: checked once a second, answered from memory."""

import psycopg
import trio

from appliance.db.migrations import schema_version, shipped
from appliance.db.pool import Pool, PoolTimeout
from appliance.runtime.periodic import First, every

PROBE_SECONDS = 1.0
DEADLINE = 2.0


class DatabaseHealth:
    """What is wrong with Postgres and with the schema; None if nothing is."""

    def __init__(self) -> None:
        self.postgres: str | None = None
        self.schema: str | None = None
        self.answered_in: float | None = None
        """Seconds that the last check took; None while Postgres does not answer."""
        self.schema_version: int | None = None
        """As last read."""
        self._needed = shipped()[-1].version

    async def watch(self, pool: Pool, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check until cancelled; started after the first check."""

        async def make_round() -> None:
            await self._ask(pool)

        first = First.BEFORE_START
        await every(PROBE_SECONDS, make_round, chore="database health", first=first, task_status=task_status)

    async def _ask(self, pool: Pool) -> None:
        asked = trio.current_time()
        try:
            with trio.fail_after(DEADLINE):
                async with pool.connection() as connection:
                    version = await schema_version(connection)
        except trio.TooSlowError:
            self.answered_in = None
            self.postgres = f"does not answer within {DEADLINE:.0f} s"
            refused = pool.statistics().last_failure
            if refused is not None:
                self.postgres += f": {_first_line(refused)}"
        except (psycopg.Error, PoolTimeout, OSError) as error:
            self.answered_in = None
            self.postgres = _first_line(str(error)) or type(error).__name__
        else:
            self.postgres = None
            self.answered_in, self.schema_version = trio.current_time() - asked, version
            needed = self._needed
            self.schema = None if version == needed else f"is at version {version}, this program needs {needed}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
