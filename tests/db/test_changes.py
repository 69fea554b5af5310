"""Notifications reach every subscriber, and a lost connection makes each forget."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from psycopg import Notify

from appliance.backoff import Backoff
from appliance.db.changes import Changes, listen
from appliance.db.trio_psycopg import Connection, connect
from tests.db.conftest import Observer
from tests.support.postgres_server import Database


class Listener:
    """Runs ``listen`` and keeps what it says."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.heard: list[str] = []
        self.lost = 0
        self.sessions: list[int] = []
        self.refuse = 0
        self.news = trio.Event()

    async def connect(self) -> Connection[Any]:
        if self.refuse and self.sessions:
            self.refuse -= 1
            return await connect("host=/nowhere dbname=x user=x")
        connection = await connect(self.database.conninfo())
        self.sessions.append(connection.info.backend_pid)
        return connection

    def on_notification(self, notification: Notify) -> None:
        self.heard.append(f"{notification.channel}:{notification.payload}")
        self.news.set()

    def on_lost(self) -> None:
        self.lost += 1
        self.news.set()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await listen(
            self.connect,
            ["registry", "Odd channel"],
            self.on_notification,
            self.on_lost,
            backoff=Backoff(first=0.01, maximum=0.02),
            task_status=task_status,
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not condition():
                self.news = trio.Event()
                await self.news.wait()


@pytest.fixture
async def listener(database: Database, nursery: trio.Nursery) -> Listener:
    made = Listener(database)
    await nursery.start(made.run)
    return made


async def test_what_is_sent_after_the_start_is_heard(listener: Listener, observer: Observer) -> None:
    await observer.connection.execute("SELECT pg_notify('registry', '1'), pg_notify('Odd channel', '2')")
    await listener.until(lambda: len(listener.heard) == 2)
    assert listener.heard == ["registry:1", "Odd channel:2"]
    assert listener.lost == 0


@pytest.mark.parametrize("refusals", [0, 3])
async def test_a_lost_connection_comes_back_and_says_so(listener: Listener, observer: Observer, refusals: int) -> None:
    listener.refuse = refusals
    await observer.connection.execute("SELECT pg_terminate_backend(%s)", [listener.sessions[0]])
    await listener.until(lambda: listener.lost == 1)
    assert len(listener.sessions) == 2
    await observer.connection.execute("SELECT pg_notify('registry', 'again')")
    await listener.until(lambda: bool(listener.heard))
    assert listener.heard == ["registry:again"]


async def test_it_ends_without_a_trace(database: Database, observer: Observer) -> None:
    listener = Listener(database)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        nursery.cancel_scope.cancel()
    await observer.until(lambda sessions: not sessions)


class Cache:
    """Keeps what one subscriber is told."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.payloads: list[str] = []
        self.forgotten = 0

    def changed(self, payload: str) -> None:
        self.payloads.append(payload)
        self.listener.news.set()

    def forget(self) -> None:
        self.forgotten += 1
        self.listener.news.set()


async def test_every_subscriber_of_a_channel_is_told_and_no_other(
    database: Database, nursery: trio.Nursery, observer: Observer
) -> None:
    listener = Listener(database)
    changes = Changes(listener.connect, ["registry", "replay"])
    first, second, other = Cache(listener), Cache(listener), Cache(listener)
    changes.subscribe("registry", first.changed, first.forget)
    changes.subscribe("replay", other.changed, other.forget)
    await nursery.start(changes.run)
    changes.subscribe("registry", second.changed, second.forget)
    await observer.connection.execute("SELECT pg_notify('registry', '1'), pg_notify('replay', '2')")
    await listener.until(lambda: bool(other.payloads))
    assert (first.payloads, second.payloads, other.payloads) == (["1"], ["1"], ["2"])
    assert len(listener.sessions) == 1


async def test_a_lost_connection_makes_every_subscriber_forget(
    database: Database, nursery: trio.Nursery, observer: Observer
) -> None:
    listener = Listener(database)
    changes = Changes(listener.connect, ["registry", "replay"], backoff=Backoff(first=0.01, maximum=0.02))
    caches = [Cache(listener), Cache(listener)]
    for channel, cache in zip(("registry", "replay"), caches, strict=True):
        changes.subscribe(channel, cache.changed, cache.forget)
    await nursery.start(changes.run)
    await observer.connection.execute("SELECT pg_terminate_backend(%s)", [listener.sessions[0]])
    await listener.until(lambda: all(cache.forgotten for cache in caches))
    assert [cache.forgotten for cache in caches] == [1, 1]


def test_a_channel_that_is_not_followed_takes_no_subscriber(database: Database) -> None:
    listener = Listener(database)
    cache = Cache(listener)
    with pytest.raises(ValueError, match="not followed"):
        Changes(listener.connect, ["registry"]).subscribe("other", cache.changed, cache.forget)
