"""Whoever watches from outside learns of each part that stops, and of its return."""

import os
import signal
from collections.abc import Iterator

import pytest
import trio

from appliance.db.roles import OWNER
from tests.support.appliance_process import ApplianceProcess
from tests.support.http_sink import HttpSink, answers, http_sink
from tests.support.mosquitto_server import MosquittoServer
from tests.support.postgres_server import PostgresServer, create_database, drop_database
from tests.support.processes import child, freeze

INTERVAL = 1.0
LONGER_INTERVAL = 3.0
"""Of an appliance that asks its broker for a sign of life itself."""
PATIENCE_SECONDS = 60.0
SECRET = "Zx81-marked-heartbeat"


async def called(sink: HttpSink, *, ok: bool, text: str = "") -> None:
    """Return once such a call comes, of those from now on."""
    first, target = len(sink.requests), f"/{SECRET}" if ok else f"/{SECRET}/fail"
    with trio.fail_after(PATIENCE_SECONDS):
        while not any(one.target == target and text in one.body.decode() for one in sink.requests[first:]):
            await trio.sleep(0.02)


async def test_each_part_that_stops_fails_the_heartbeat_until_it_is_back(appliance: ApplianceProcess) -> None:
    async with http_sink(answers(200)) as sink:
        appliance.settings["APPLIANCE_DELIVERY_HEARTBEAT_URL"] = sink.url(f"/{SECRET}")
        appliance.settings["APPLIANCE_DELIVERY_HEARTBEAT_SECONDS"] = str(INTERVAL)
        await trio.to_thread.run_sync(appliance.start)
        await called(sink, ok=True)
        for program, part in (("mosquitto", "broker"), ("postgres", "commit")):
            frozen = freeze(child(appliance, program))
            try:
                await called(sink, ok=False, text=f"Missing: {part}")
            finally:
                for pid in reversed(frozen):
                    os.kill(pid, signal.SIGCONT)
            await called(sink, ok=True)
    assert all(one.target in (f"/{SECRET}", f"/{SECRET}/fail") for one in sink.requests)
    assert SECRET not in appliance.log.read_text()
    assert "Traceback" not in appliance.log.read_text()


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    with MosquittoServer(persistence=True) as server:
        yield server


@pytest.fixture
def elsewhere(
    broker: MosquittoServer, postgres_server: PostgresServer, database_template: str
) -> Iterator[ApplianceProcess]:
    """An appliance whose broker and whose Postgres others run."""
    database = create_database(postgres_server, template=database_template, owner=OWNER)
    process = ApplianceProcess(
        {
            "APPLIANCE_BROKER_URL": f"mqtt://{broker.host}:{broker.port}",
            "APPLIANCE_DATABASE_URL": database.url,
            "APPLIANCE_DELIVERY_HEARTBEAT_SECONDS": str(LONGER_INTERVAL),
        }
    )
    try:
        yield process
    finally:
        process.close()
        drop_database(database)


async def test_a_broker_elsewhere_that_stops_fails_the_heartbeat_within_two_intervals(
    elsewhere: ApplianceProcess, broker: MosquittoServer
) -> None:
    async with http_sink(answers(200)) as sink:
        elsewhere.settings["APPLIANCE_DELIVERY_HEARTBEAT_URL"] = sink.url(f"/{SECRET}")
        await trio.to_thread.run_sync(elsewhere.start)
        await called(sink, ok=True)
        broker.pause()
        before = len(sink.requests)
        try:
            await called(sink, ok=False, text="Missing: broker")
        finally:
            broker.resume()
        calls = [one.target for one in sink.requests[before:]]
        assert calls.index(f"/{SECRET}/fail") <= 2, "there is one call an interval"
        await called(sink, ok=True)
    assert "Traceback" not in elsewhere.log.read_text()
