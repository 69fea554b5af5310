"""A process that opens and closes one alert, many at once.

``python -m tests.alerts.contender CONNINFO CALLERS ROUNDS``: each caller opens the alert of one fingerprint, and lets a
person close whatever is open before it tries again. Says ``ready`` and waits for a line; then prints what became of
each try as JSON: ``opened``, ``there``, ``busy`` or the outcome of the closing.
"""

import sys
from typing import Any

import msgspec
import psycopg
import trio

from appliance.alerts import actions
from appliance.alerts.actions import AskedStep
from appliance.alerts.lifecycle import AlertStep
from appliance.db.pool import Pool, open_pool
from appliance.errors import Busy
from tests.support.tenants import BY, NOW, TENANT

FINGERPRINT = "contended"

OPEN = """
INSERT INTO fleet_alert (tenant_id, alert_type, fingerprint, severity, summary, created_at, started_at,
  last_triggered_at, due_at)
VALUES (%(tenant)s, 'SYSTEM', %(fingerprint)s, 'high', 'contended', %(now)s, %(now)s, %(now)s, %(now)s)
RETURNING id
"""
CHOSEN = (
    "SELECT id FROM fleet_alert WHERE tenant_id = %(tenant)s AND fingerprint = %(fingerprint)s AND status <> 'CLOSED'"
)


async def open_one(pool: Pool) -> str:
    """Write an alert as whoever knows nothing of the others does."""
    try:
        async with pool.connection() as connection:
            await connection.execute(OPEN, {"tenant": TENANT, "fingerprint": FINGERPRINT, "now": NOW})
    except psycopg.errors.UniqueViolation:
        return "there"
    return "opened"


async def close_all(pool: Pool) -> list[str]:
    """Close what is open, as a person does; the outcomes."""
    try:
        async with pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(CHOSEN, {"tenant": TENANT, "fingerprint": FINGERPRINT})
            alert_ids = [row[0] for row in await cursor.fetchall()]
            if not alert_ids:
                return []
            answers = await actions.take_many(connection, TENANT, alert_ids, AskedStep(AlertStep.CLOSE), BY)
            return [answer.outcome.value for answer in answers]
    except Busy:
        return ["busy"]


async def contend(conninfo: str, callers: int, rounds: int) -> list[str]:
    """All callers at once: open in every round, and close between two."""
    outcomes: list[str] = []

    async def caller(pool: Pool) -> None:
        for number in range(rounds):
            if number:
                outcomes.extend(await close_all(pool))
            outcomes.append(await open_one(pool))

    async with open_pool(conninfo, name="contender", min_size=15, max_size=15) as pool:
        print("ready", flush=True)  # noqa: T201 - the other end of a pipe
        await trio.to_thread.run_sync(sys.stdin.readline)
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(caller, pool)
    return outcomes


def main(arguments: list[Any]) -> None:
    """Contend as the command line says."""
    conninfo, callers, rounds = arguments
    outcomes = trio.run(contend, conninfo, int(callers), int(rounds))
    print(msgspec.json.encode(outcomes).decode(), flush=True)  # noqa: T201 - the other end of a pipe


if __name__ == "__main__":
    main(sys.argv[1:])
