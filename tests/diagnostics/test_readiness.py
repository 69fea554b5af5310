"""Readiness by deeds: what keeps messages from being stored is found, named, and logged once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from structlog.testing import capture_logs

from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.diagnostics.readiness import HELD_SECONDS, IDLE_SECONDS, Health, HeldBatch, Readiness, StoringProbe
from appliance.metrics import Metrics
from tests.support.people import StillClock
from tests.support.postgres_server import Database

INSTANCE = "i-1"
WELL = Health(None, None, None)


class Stream:
    """What the pipeline would say of itself."""

    def __init__(self) -> None:
        self.held: HeldBatch | None = None
        self.committed_at = float("-inf")


@asynccontextmanager
async def probing(
    database: Database, stream: Stream, clock: StillClock, full: str | None = None
) -> AsyncIterator[StoringProbe]:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute("INSERT INTO ingest_instances (instance) VALUES (%s) ON CONFLICT DO NOTHING", [INSTANCE])
    async with open_pool(database.conninfo(INGEST), name="probe", min_size=1, max_size=2) as pool:
        yield StoringProbe(
            pool,
            INSTANCE,
            clock,
            held=lambda: stream.held,
            committed_at=lambda: stream.committed_at,
            disk_full=lambda: full,
        )


def probed_at(database: Database) -> object:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute("SELECT probed_at FROM ingest_instances").fetchone()


async def test_without_messages_a_probe_commits(database: Database) -> None:
    stream, clock = Stream(), StillClock()
    async with probing(database, stream, clock) as probe:
        await probe.look()
        assert probe.trouble is None
        assert probed_at(database) == (clock.at,)


async def test_while_messages_are_committed_nothing_is_probed(database: Database) -> None:
    stream, clock = Stream(), StillClock()
    stream.committed_at = clock.monotonic() - IDLE_SECONDS + 1
    async with probing(database, stream, clock) as probe:
        await probe.look()
    assert probed_at(database) == (None,)


async def test_a_locked_table_is_trouble_and_names_the_process(database: Database) -> None:
    async with probing(database, Stream(), StillClock()) as probe:
        with psycopg.connect(database.conninfo()) as other:
            other.execute("LOCK TABLE telemetry IN SHARE MODE")
            await probe.look()
            assert f"a lock is held by process {other.info.backend_pid}" in str(probe.trouble)


async def test_it_is_well_again_after_the_lock(database: Database) -> None:
    clock = StillClock()
    async with probing(database, Stream(), clock) as probe:
        with psycopg.connect(database.conninfo()) as other:
            other.execute("LOCK TABLE telemetry")
            await probe.look()
        clock.passed += IDLE_SECONDS
        await probe.look()
        assert probe.trouble is None


async def test_a_batch_that_is_held_is_trouble_with_its_error(database: Database) -> None:
    stream, clock = Stream(), StillClock()
    stream.committed_at = clock.monotonic()
    stream.held = HeldBatch(clock.monotonic(), "could not extend file: No space left on device")
    async with probing(database, stream, clock) as probe:
        await probe.look()
        told = [probe.trouble]
        clock.passed += HELD_SECONDS
        await probe.look()
        told.append(probe.trouble)
        stream.held, stream.committed_at = None, clock.monotonic()
        await probe.look()
    assert told == [None, "nothing was stored for 5 s: could not extend file: No space left on device"]
    assert probe.trouble is None


async def test_a_batch_that_waits_for_a_lock_names_the_process(database: Database) -> None:
    stream, clock = Stream(), StillClock()
    stream.held = HeldBatch(clock.monotonic() - 30, None)
    async with probing(database, stream, clock) as probe:
        await probe.look()
        assert probe.trouble == "nothing was stored for 30 s: Postgres has not finished it"


async def test_a_full_disk_is_trouble_before_anything_fails_and_nothing_is_probed(database: Database) -> None:
    stream, clock = Stream(), StillClock()
    async with probing(database, stream, clock, "the disk is full") as probe:
        await probe.look()
        assert probe.trouble == "the disk is full"
        assert probed_at(database) == (None,)
        stream.held = HeldBatch(clock.monotonic() - 30, None)
        await probe.look()
        assert probe.trouble == "nothing was stored for 30 s: the disk is full"


def test_a_full_disk_explains_what_is_not_stored_and_is_named_beside_a_part_that_is_missing() -> None:
    full = Health(None, None, None, storing="nothing was stored", publishing="refused", disk="is full")
    assert full.causes() == full.failing() == {"disk": "is full", "publishing": "refused"}
    assert Health("is waiting", None, None, disk="is full").missing() == {"postgres": "is waiting", "disk": "is full"}
    assert Health(None, None, None, disk="is full").missing() == {}


def test_a_broker_that_cannot_save_its_queue_is_a_warning() -> None:
    health = Health(None, None, None, broker_queue="No space left on device")
    assert (health.causes(), health.warnings()) == ({}, {"broker_queue": "No space left on device"})


def test_a_broker_that_keeps_our_session_too_short_is_a_warning() -> None:
    health = Health(None, None, None, broker_session="it keeps our session for 5 minutes")
    assert (health.causes(), health.warnings()) == ({}, {"broker_session": "it keeps our session for 5 minutes"})


def test_what_is_missing_explains_what_fails() -> None:
    broken = Health("away", None, None, storing="nothing was stored", publishing="refused")
    assert broken.causes() == broken.missing() == {"postgres": "away"}
    assert Health(None, None, None, "full", "refused").causes() == {"storing": "full", "publishing": "refused"}
    assert WELL.causes() == {}


def test_the_log_says_once_when_it_begins_and_once_when_it_ends() -> None:
    health = [Health(None, None, None, storing="locked")]
    metrics = Metrics()
    watch = Readiness(None, lambda: health[0], metrics)  # type: ignore[arg-type]
    with capture_logs() as logs:
        watch.note()
        health[0] = Health(None, None, None, storing="locked for longer")
        watch.note()
        assert b"appliance_ready 0.0" in metrics.exposition()
        health[0] = WELL
        watch.note()
        watch.note()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("not ready", "error"), ("ready again", "info")]
    assert logs[0]["cause"] == "locked"
    assert b"appliance_ready 1.0" in metrics.exposition()
