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
from tests.appliance_process import ApplianceProcess
from tests.postgres_server import TEMPLATE, PostgresServer, create_database, make_template
from tests.system.auditor import look
from tests.system.publisher import TENANT, Publisher, client, settled, stored

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
    url = f"postgresql://postgres@/{database.name}?host={server.socket_dir}"
    process = ApplianceProcess({"APPLIANCE_DATABASE_URL": url, "APPLIANCE_DATABASE_POOL_SIZE": "4"})
    try:
        process.start()
        process.tenant(TENANT)
        yield process
        assert "Traceback" not in process.log.read_text()
    finally:
        process.close()


class Sending:
    """Messages under way while something happens; afterwards each of them must be there, once."""

    def __init__(self, appliance: ApplianceProcess, minutes_ago: int) -> None:
        self.appliance = appliance
        self.before = set(stored(appliance))
        self.publisher = Publisher(TENANT, (int(time.time()) - 60 * minutes_ago) * 1000)

    async def send(self, pause: float = 0.02) -> None:
        async with client(self.appliance, "sender") as connection:
            await self.publisher.send(connection, MESSAGES, 10, pause)

    async def check(self) -> None:
        await settled(self.appliance, len(self.before) + MESSAGES)
        assert set(stored(self.appliance)) == self.before | self.publisher.books
        look(self.appliance.conninfo())
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
        assert self.appliance.query(idle) == [(0,)]


def backends(superuser: psycopg.Connection) -> list[int]:
    """Pids of those that serve the appliance: all but the ones of the database `postgres`, where we are."""
    statement = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname <> 'postgres'"
    return [pid for (pid,) in superuser.execute(statement).fetchall()]


async def cut_off(superuser: psycopg.Connection) -> None:
    """End the connections of the appliance, again and again, until it gets no new ones."""
    with trio.fail_after(30):
        while pids := backends(superuser):
            for pid in pids:
                superuser.execute("SELECT pg_terminate_backend(%s)", [pid])
            await trio.sleep(0.01)


def told(appliance: ApplianceProcess) -> str:
    """What Postgres says to the appliance, by its own account; empty while that is nothing bad.

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
            with psycopg.connect(server.conninfo(), autocommit=True) as superuser, trio.fail_after(60):
                while not (pids := backends(superuser)):  # it is on its way back
                    await trio.sleep(0.02)
            server.kill_backend(pids[0])
            with trio.fail_after(60):
                while not await trio.to_thread.run_sync(answers, server):
                    await trio.sleep(0.02)
    await sending.check()


def answers(server: PostgresServer) -> bool:
    try:
        psycopg.connect(server.conninfo()).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_without_a_free_connection_it_waits_for_one(server: PostgresServer, fed: ApplianceProcess) -> None:
    """53300: every slot is taken, ours are cut off, and others take those too."""
    sending = Sending(fed, 40)
    with ExitStack() as taken, psycopg.connect(server.conninfo(), autocommit=True) as superuser:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sending.send)
            await trio.sleep(0.1)
            with trio.fail_after(20):
                why = ""
                while not why:  # it may have found a slot before us
                    await trio.to_thread.run_sync(take_all, server, taken)
                    for pid in backends(superuser):
                        superuser.execute("SELECT pg_terminate_backend(%s)", [pid])
                    await trio.sleep(0.05)
                    why = await trio.to_thread.run_sync(told, fed)
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


async def test_a_server_that_is_shutting_down_is_waited_for(server: PostgresServer, fed: ApplianceProcess) -> None:
    """57P03: a smart shutdown serves who is there and refuses who comes; we are cut off, and come."""
    sending = Sending(fed, 20)
    async with trio.open_nursery() as nursery:
        with psycopg.connect(server.conninfo(), autocommit=True) as superuser:
            nursery.start_soon(sending.send)
            await trio.sleep(0.1)
            os.kill(server.pid, signal.SIGTERM)
            await cut_off(superuser)
            with pytest.raises(psycopg.OperationalError, match="shutting down"):
                psycopg.connect(server.conninfo())
            with trio.fail_after(60):
                while not await trio.to_thread.run_sync(told, fed):
                    await trio.sleep(0.05)
        server.restart()  # from this thread: it dies with the thread that started it
    await sending.check()
