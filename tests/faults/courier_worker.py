"""A process that only delivers, to be killed: ``python -m tests.faults.courier_worker SERVER DATABASE INSTANCE SPEED``.

Its clock goes SPEED times as fast as that of the machine, so that the hours of the retry table pass in seconds.
What it sends it writes into the table ``sends``, as a receiver that keeps a log. The type of an integration says how
its receiver behaves: ``webhook`` takes everything at once, ``slow`` after a moment, ``hangs`` never answers, ``fails``
answers 500.
"""

import os
import sys
import time
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import trio

from appliance.delivery.notices.notice import Notice
from appliance.delivery.senders.sender import Outcome, Target
from appliance.failpoints import Failpoints
from tests.support.clock import TrustedClock
from tests.support.couriers import BROKEN, DELIVERED, PlayedSender, open_couriers
from tests.support.postgres_server import Database, PostgresServer

SENDS = """
CREATE TABLE sends (send_id bigserial, receiver text, message_id uuid, event text, alert_id bigint, pid integer,
  began double precision, ended double precision)"""
SLOW_SECONDS = 0.03
HANG_SECONDS = 1.0
"""After which a try is given up."""
HANG_SECONDS_OF_MANY = 0.05
"""The same where the clock is fast."""
LEASE_SECONDS = 3.0


def database_at(socket_dir: str, name: str) -> Database:
    """Return a database of a server that another process runs."""
    conninfo = f"host={socket_dir} port=5432 dbname={{}} user={{}}"
    server = SimpleNamespace(conninfo=conninfo.format)
    return Database(cast("PostgresServer", server), name)


def receivers(connection: psycopg.Connection[Any]) -> list[PlayedSender]:
    """Return a sender for each kind of receiver."""

    async def receive(kind: str, target: Target, notice: Notice) -> Outcome:
        row = [target.config["name"], notice.message_id, notice.event.value, notice.alert.alert_id, os.getpid()]
        [send] = connection.execute(
            "INSERT INTO sends (receiver, message_id, event, alert_id, pid, began) VALUES (%s, %s, %s, %s, %s, %s)"
            " RETURNING send_id",
            [*row, time.monotonic()],
        ).fetchone() or [None]
        try:
            if kind == "slow":
                await trio.sleep(SLOW_SECONDS)
            if kind == "hangs":
                await trio.sleep_forever()
        finally:
            connection.execute("UPDATE sends SET ended = %s WHERE send_id = %s", [time.monotonic(), send])
        return BROKEN if kind == "fails" else DELIVERED

    def sender(kind: str) -> PlayedSender:
        return PlayedSender(lambda target, notice: receive(kind, target, notice), type=kind)

    return [sender(kind) for kind in ("webhook", "slow", "hangs", "fails")]


class FastClock(TrustedClock):
    """A clock that is right when it is made, and goes faster from then on."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began = time.time()

    def now(self) -> float:
        """Return the service time."""
        return self._began + self._speed * (time.time() - self._began)

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()


async def work(database: Database, instance: str, speed: float) -> None:
    """Deliver until killed."""
    failpoint = Failpoints.from_environment(os.environ)
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        async with open_couriers(
            database,
            *receivers(connection),
            clock=FastClock(speed),
            instance=instance,
            failpoint=failpoint,
            send_seconds=HANG_SECONDS if speed == 1 else HANG_SECONDS_OF_MANY,
            lease_seconds=LEASE_SECONDS,
        ):
            await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(work, database_at(sys.argv[1], sys.argv[2]), sys.argv[3], float(sys.argv[4]))
