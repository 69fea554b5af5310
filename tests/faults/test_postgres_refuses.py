"""A Postgres that is there and takes no connections, or loses a backend: the batch is held, and nothing is lost.

The database is external, with room for few connections, so that it can be filled up.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
import trio

from appliance.db.roles import OWNER
from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.postgres_server import TEMPLATE, PostgresServer, create_database, make_template
from tests.support.publisher import TENANT, Entry, Publisher, client, stored

CONNECTIONS = 24
BACKEND_KILLS = 5
MESSAGES = 400


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer({"max_connections": str(CONNECTIONS)}) as started:
        trio.run(make_template, started)
        yield started


@pytest.fixture(scope="module")
def fed(server: PostgresServer) -> Iterator[ApplianceProcess]:
    """An appliance on a database of the server."""
    database = create_database(server, template=TEMPLATE, owner=OWNER)
    url = database.url
    with started({"APPLIANCE_DATABASE_URL": url, "APPLIANCE_DATABASE_POOL_SIZE": "4"}) as process:
        process.tenant(TENANT)
        yield process
        assert "Traceback" not in process.log.read_text()


class Sending:
    """Messages under way while something happens; afterwards each of them must be there, once.

    Only its own count, recognised by their time: those of a test before may still be under way.
    """

    def __init__(self, appliance: ApplianceProcess, minutes_ago: int) -> None:
        self.appliance = appliance
        self.publisher = Publisher(TENANT, (int(time.time()) - 60 * minutes_ago) * 1000)

    async def send(self, pause: float = 0.02) -> None:
        async with client(self.appliance, "sender") as connection:
            await self.publisher.send(connection, MESSAGES, 10, pause)

    def missing(self) -> set[Entry]:
        return self.publisher.sent - set(stored(self.appliance))

    async def check(self) -> None:
        with trio.fail_after(120):
            while await trio.to_thread.run_sync(self.missing):
                await trio.sleep(0.05)
            idle = "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
            while await trio.to_thread.run_sync(self.appliance.query, idle):  # one that nobody goes on with stays
                await trio.sleep(0.05)
        found = stored(self.appliance)
        assert len(found) == len(set(found))
        look(self.appliance.conninfo())


def backends(superuser: psycopg.Connection) -> list[int]:
    """Pids of those that serve the appliance: all but the ones of the database `postgres`, where we are."""
    statement = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname <> 'postgres'"
    return [pid for (pid,) in superuser.execute(statement).fetchall()]


async def cut_off(superuser: psycopg.Connection) -> None:
    """End the connections of the appliance, again and again, until it gets no new ones."""
    with trio.fail_after(60):
        while pids := backends(superuser):
            for pid in pids:
                superuser.execute("SELECT pg_terminate_backend(%s)", [pid])
            await trio.sleep(0.01)


def postgres_error(appliance: ApplianceProcess) -> str:
    """Return the error that Postgres gives the appliance, as the appliance reports it; empty while there is none.

    It asks every second, and waits two for an answer.
    """
    answer = appliance.get("/readyz").decode()
    return answer if "FATAL" in answer else ""


async def test_a_killed_backend_restarts_them_all_and_nothing_is_lost(
    server: PostgresServer, fed: ApplianceProcess
) -> None:
    sending = Sending(fed, 60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sending.send)
        for _ in range(BACKEND_KILLS):
            await trio.sleep(0.1)
            server.kill_backend(await one_of_its_backends(server))
    await sending.check()


async def one_of_its_backends(server: PostgresServer) -> int:
    """The pid of one, once the server has recovered from the death of another and the appliance is back."""
    with trio.fail_after(60):
        while True:
            try:
                with psycopg.connect(server.conninfo(), autocommit=True) as superuser:
                    if pids := backends(superuser):
                        return pids[0]
            except psycopg.OperationalError:  # it recovers, or ends us with the one that was killed
                pass
            await trio.sleep(0.02)


async def test_without_a_free_connection_it_waits_for_one(server: PostgresServer, fed: ApplianceProcess) -> None:
    """53300: every slot is taken, ours are cut off, and others take those too."""
    sending = Sending(fed, 40)
    with ExitStack() as taken, psycopg.connect(server.conninfo(), autocommit=True) as superuser:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sending.send)
            await trio.sleep(0.1)
            with trio.fail_after(60):
                why = ""
                while not why:  # it may have found a slot before us
                    await trio.to_thread.run_sync(take_all, server, taken)
                    for pid in backends(superuser):
                        superuser.execute("SELECT pg_terminate_backend(%s)", [pid])
                    await trio.sleep(0.05)
                    why = await trio.to_thread.run_sync(postgres_error, fed)
            taken.close()
    await sending.check()
    assert "too many" in why or "remaining connection slots" in why


def take_all(server: PostgresServer, taken: ExitStack) -> None:
    """Connect until nobody can any more."""
    while True:
        try:
            taken.enter_context(psycopg.connect(server.conninfo(), autocommit=True))
        except psycopg.OperationalError:
            return


def refusal(server: PostgresServer) -> str:
    """Why the server takes no more connections; empty while it does."""
    try:
        psycopg.connect(server.conninfo()).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


async def test_a_server_that_is_shutting_down_is_waited_for(server: PostgresServer, fed: ApplianceProcess) -> None:
    """57P03: a smart shutdown serves who is there and refuses who comes; we are cut off, and come."""
    sending = Sending(fed, 20)
    async with trio.open_nursery() as nursery:
        with psycopg.connect(server.conninfo(), autocommit=True) as superuser:
            nursery.start_soon(sending.send)
            await trio.sleep(0.1)
            os.kill(server.pid, signal.SIGTERM)
            with trio.fail_after(60):
                while "shutting down" not in refusal(server):
                    await trio.sleep(0.01)
            await cut_off(superuser)
            with trio.fail_after(60):
                while not await trio.to_thread.run_sync(postgres_error, fed):
                    await trio.sleep(0.05)
        server.restart()  # from this thread: it dies with the thread that started it
    await sending.check()
