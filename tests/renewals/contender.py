"""A process that asks for one renewal many times at once, over and over.

``python -m tests.renewals.contender CONNINFO CALLERS``: says ``ready`` and reads a :class:`Round` as one line of JSON;
then all callers ask at once, each in a transaction of its own, and their :class:`Outcome` are printed as one line.
"""

import logging
import sys
from dataclasses import replace

import msgspec
import structlog
import trio

from appliance.db.pool import Pool, open_pool
from appliance.renewals.answer import Answer
from appliance.renewals.plan import Request
from appliance.renewals.renewal import renew
from tests.renewals.family import POLICY
from tests.support.tenants import BY, NOW

CONNECTIONS = 15


class Round(msgspec.Struct, frozen=True):
    """What all callers ask for."""

    tenant: str
    request: Request
    key: str | None
    """``{}`` in it becomes the number of the caller."""
    first: int
    """The number of this process' first caller."""


class Outcome(msgspec.Struct, frozen=True):
    """What one caller was told."""

    answer: Answer
    replayed: bool


async def ask(pool: Pool, asked: Round, number: int) -> Outcome:
    """Ask as a request of the dashboard does: in a transaction in which the tenant is set."""
    key = None if asked.key is None else asked.key.format(number)
    context = replace(BY, now=NOW, settled=NOW)
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SELECT set_config('appliance.tenant_id', %s, true)", [asked.tenant])
        outcome = await renew(connection, asked.tenant, asked.request, context, key=key, policy=POLICY, trusted=True)
    return Outcome(outcome.answer, outcome.replayed)


async def contend(conninfo: str, callers: int) -> None:
    """Work on rounds until standard input ends. An error of any caller ends the process."""
    async with open_pool(conninfo, name="contender", min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        while True:
            print("ready", flush=True)  # noqa: T201 - the other end of a pipe
            line = await trio.to_thread.run_sync(sys.stdin.readline)
            if not line:
                return
            asked = msgspec.json.decode(line, type=Round)
            outcomes: list[Outcome] = []

            async def caller(number: int, asked: Round = asked, outcomes: list[Outcome] = outcomes) -> None:
                outcomes.append(await ask(pool, asked, number))

            async with trio.open_nursery() as nursery:
                for number in range(asked.first, asked.first + callers):
                    nursery.start_soon(caller, number)
            print(msgspec.json.encode(outcomes).decode(), flush=True)  # noqa: T201 - the other end of a pipe


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    trio.run(contend, sys.argv[1], int(sys.argv[2]))
