"""What the broker takes of memory and disk, and when that is too much."""

import os
import subprocess

import trio

from appliance.broker.room import NEARLY_FULL, ROOM_AGAIN, BrokerRoom, RoomWatch
from appliance.broker.statistics import BrokerStatistics
from appliance.metrics import Metrics
from appliance.mqtt.client import Client
from tests.support.mosquitto_server import MosquittoServer

LIMIT = 1_000_000_000


class Watched:
    """A watch over statistics that a test sets, and how often it told that the broker is nearly full."""

    def __init__(self, pid: int | None = None, limit: int | None = LIMIT) -> None:
        self.metrics = Metrics()
        self.statistics = BrokerStatistics(Client("localhost"), self.metrics)
        self.told = 0
        self.watch = RoomWatch(
            self.statistics,
            self.metrics,
            pid=lambda: pid,
            store_bytes=lambda: 4711,
            limit=limit,
            on_nearly_full=self._note,
        )

    def _note(self) -> None:
        self.told += 1

    def trouble(self, share: float) -> str | None:
        self.statistics.allocated = round(share * LIMIT)
        self.watch.look()
        return self.watch.trouble


def test_it_is_nearly_full_until_there_is_much_room_again_and_told_all_the_time() -> None:
    watched = Watched()
    between = (NEARLY_FULL + ROOM_AGAIN) / 2
    assert watched.trouble(between) is None
    full = watched.trouble(NEARLY_FULL)
    assert full is not None
    assert "750 of 1000 MB" in full
    assert watched.trouble(between) is not None
    assert watched.trouble(ROOM_AGAIN - 0.01) is None
    assert watched.trouble(between) is None
    assert watched.trouble(1.0) is not None
    assert watched.told == 3, "what is retained goes on coming while ingest is held: one sweep does not do"


def test_a_broker_without_a_limit_is_never_full_and_what_is_not_known_is_none() -> None:
    watched = Watched(limit=None)
    assert watched.trouble(2.0) is None
    assert watched.watch.room == BrokerRoom(2 * LIMIT, None, None, 4711, None)


def test_the_memory_of_its_process_is_read_while_it_lives() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid, there in ((os.getpid(), True), (ended.pid, False)):
        watched = Watched(pid)
        watched.watch.look()
        assert (watched.watch.room.resident is not None) is there
    watched = Watched(os.getpid(), limit=1)
    watched.watch.look()
    assert watched.watch.trouble is not None, (
        "a broker that does not tell what it has allocated is judged by its process"
    )


async def test_mosquitto_says_what_it_has_allocated_and_keeps() -> None:
    with MosquittoServer(config=["sys_interval 1"]) as server:
        metrics = Metrics()
        statistics = BrokerStatistics(Client(server.host, server.port), metrics)
        watch = RoomWatch(
            statistics,
            metrics,
            pid=lambda: server.pid,
            store_bytes=lambda: None,
            limit=LIMIT,
            on_nearly_full=lambda: None,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(statistics.run)
            async with Client(server.host, server.port) as client:
                await client.publish_many([(f"kept/{number}", bytes(10_000)) for number in range(300)], retain=True)
            with trio.fail_after(60):
                while (statistics.retained or 0) < 300 or (statistics.allocated or 0) < 3_000_000:
                    await trio.sleep(0.05)
            watch.look()
            nursery.cancel_scope.cancel()
    room = watch.room
    assert room.resident is not None
    assert room.resident > 3_000_000
    text = metrics.exposition().decode()
    for name in ("allocated_bytes", "resident_bytes", "retained_messages"):
        assert f"appliance_broker_{name}" in text
