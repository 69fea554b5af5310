"""Quarantine stays within its caps, bytes for each tenant and age; evictions are counted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import structlog
import trio

from appliance.clock import Clock, SystemClock
from appliance.config import Quarantine
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.ingest.quarantine import retention as retention_module
from appliance.ingest.quarantine.retention import QuarantineRetention
from appliance.ingest.quarantine.store import OPERATOR, HeldReach, reach
from appliance.metrics import Metrics
from tests.support.clock import DoubtfulClock
from tests.support.pipeline import arrange, look, until
from tests.support.postgres_server import Database

OVERHEAD = 160 + len("topic")
"""Of a row without payload and detail."""
NOW = datetime.now(UTC)

INSERT = """
INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload, status, decided_at)
VALUES (%s, 'topic', %s, %s, %s, %s, %s, CASE WHEN %s = 'HELD' THEN NULL ELSE now() END)
"""


def quarantine(
    database: Database,
    devices: Sequence[str | None],
    *,
    tenant: str | None = "acme",
    size: int = 1000,
    at: datetime = NOW,
    status: str = "HELD",
    reason: str = "NO_SUBSCRIPTION_CAPACITY",
) -> None:
    """A row for each of ``devices``, in this order, each ``size`` bytes by the cap's count."""
    payload = bytes(size - OVERHEAD)
    with psycopg.connect(database.conninfo(INGEST), autocommit=True) as connection, connection.transaction():
        for place, device in enumerate(devices):
            received = at + timedelta(microseconds=place)
            values = (received, tenant, device, reason, payload, status, status)
            connection.execute(INSERT, values)


async def keep(
    database: Database, max_bytes: int = 2**40, max_age_days: int = 7, rounds: int = 1, clock: Clock | None = None
) -> int:
    """Make rounds of retention; return the number of evicted held messages."""
    async with open_pool(database.conninfo(INGEST), name="retention", max_size=2) as pool:
        limits = Quarantine(max_bytes=max_bytes, max_age_days=max_age_days)
        retention = QuarantineRetention(pool, "one", clock or SystemClock(), limits, Metrics())
        return sum([await retention.round() for _ in range(rounds)])


async def test_evictions_are_in_the_metrics_by_cause(database: Database) -> None:
    metrics = Metrics()
    quarantine(database, ["old"] * 3, at=NOW - timedelta(days=8))
    quarantine(database, ["new"] * 5)
    async with open_pool(database.conninfo(INGEST), name="retention", max_size=2) as pool:
        await QuarantineRetention(pool, "one", SystemClock(), Quarantine(max_bytes=3000), metrics).round()
    exposed = metrics.exposition()
    assert b'appliance_evicted_messages_total{cause="age"} 3.0' in exposed
    assert b'appliance_evicted_messages_total{cause="room"} 2.0' in exposed


async def how_far(database: Database, tenant_id: str) -> HeldReach:
    async with open_pool(database.conninfo(INGEST), name="reach", max_size=1) as pool, pool.connection() as connection:
        return await reach(connection, tenant_id)


def left(database: Database) -> list[tuple[str, int]]:
    """(device, how many microseconds after NOW) of the rows left, by device and age."""
    rows = look(database, "SELECT device_id, ingested_at FROM quarantine_events ORDER BY 1, 2")
    return [(device, round((received - NOW) / timedelta(microseconds=1))) for device, received in rows]


def evicted(database: Database) -> list[tuple[str, int]]:
    return look(database, "SELECT tenant_id, sum(evicted)::int FROM ingest_ledger GROUP BY 1 ORDER BY 1")


def check_totals(database: Database) -> None:
    """The triggers' totals against a count of the rows."""
    differing = look(
        database,
        "SELECT * FROM (SELECT tenant_id, messages, bytes, held, held_bytes FROM quarantine_totals WHERE messages <> 0"
        " OR bytes <> 0 OR held <> 0 OR held_bytes <> 0) AS t FULL JOIN (SELECT coalesce(tenant_id, '') AS tenant_id,"
        " count(*) AS messages, sum(size) AS bytes, count(*) FILTER (WHERE status = 'HELD') AS held,"
        " coalesce(sum(size) FILTER (WHERE status = 'HELD'), 0) AS held_bytes FROM quarantine_events GROUP BY 1) AS c"
        " USING (tenant_id, messages, bytes, held, held_bytes) WHERE t IS NULL OR c IS NULL",
    )
    assert differing == []


async def test_within_the_caps_nothing_goes(database: Database) -> None:
    quarantine(database, ["a", "b", "a"])
    assert await keep(database, max_bytes=3000) == 0
    assert len(left(database)) == 3
    assert evicted(database) == []


async def test_the_device_with_most_loses_its_oldest_first(database: Database) -> None:
    quarantine(database, ["quiet", "loud", "loud", "loud", "quiet", "loud", "middle", "middle", "middle", "loud"])
    assert await keep(database, max_bytes=6000) == 4
    # loud had 5 and lost two (level with middle's 3), then the oldest of the fullest in turn: loud's, middle's.
    assert left(database) == [("loud", 5), ("loud", 9), ("middle", 7), ("middle", 8), ("quiet", 0), ("quiet", 4)]
    assert evicted(database) == [("acme", 4)]
    check_totals(database)


async def test_a_row_more_than_fits_costs_a_row_whatever_its_size(database: Database) -> None:
    quarantine(database, ["a", "a"], size=2000)
    quarantine(database, ["a"], size=201, at=NOW + timedelta(seconds=1))
    assert await keep(database, max_bytes=4200) == 1
    assert len(left(database)) == 2


async def test_what_was_decided_on_goes_before_what_is_held(database: Database) -> None:
    quarantine(database, ["a"] * 4, status="REPLAYED")
    quarantine(database, ["a"] * 4)
    assert await keep(database, max_bytes=5000) == 0
    assert look(database, "SELECT status, count(*) FROM quarantine_events GROUP BY 1 ORDER BY 1") == [
        ("HELD", 4), ("REPLAYED", 1),
    ]  # fmt: skip
    assert evicted(database) == []
    assert await keep(database, max_bytes=3000) == 1
    assert evicted(database) == [("acme", 1)]


async def test_each_tenant_has_its_own_cap_and_the_operator_too(database: Database) -> None:
    quarantine(database, ["a"] * 3, tenant="acme")
    quarantine(database, ["a"] * 2, tenant="rival")
    quarantine(database, ["a", None, None, None], tenant=None, reason="BAD_TOPIC_FORMAT")
    assert await keep(database, max_bytes=2000) == 3
    assert evicted(database) == [("", 2), ("acme", 1)]
    assert look(database, "SELECT tenant_id, count(*) FROM quarantine_events GROUP BY 1 ORDER BY 1") == [
        ("acme", 2), ("rival", 2), (None, 2),
    ]  # fmt: skip
    check_totals(database)


async def test_a_cap_of_nothing_holds_nothing(database: Database) -> None:
    quarantine(database, ["a"] * 3)
    assert await keep(database, max_bytes=0) == 3
    assert left(database) == []
    check_totals(database)


async def test_everything_too_old_goes_and_only_what_was_held_counts_as_evicted(database: Database) -> None:
    old = NOW - timedelta(days=7, seconds=5)
    quarantine(database, ["a", "b"], at=old)
    quarantine(database, ["a", "b"], at=old, status="DISMISSED")
    quarantine(database, ["a"], at=old + timedelta(hours=1))  # longer than any test run takes
    quarantine(database, ["x"], at=old, tenant="rival")
    assert await keep(database) == 3
    assert evicted(database) == [("acme", 2), ("rival", 1)]
    assert look(database, "SELECT device_id FROM quarantine_events") == [("a",)]
    check_totals(database)


async def test_in_doubt_nothing_grows_too_old_and_the_cap_of_bytes_holds(database: Database) -> None:
    at = NOW.timestamp()
    doubtful = DoubtfulClock(at + 60 * 86_400, at)
    quarantine(database, ["a", "b", "b"])
    assert await keep(database, clock=doubtful) == 0
    assert len(left(database)) == 3
    assert await keep(database, max_bytes=2000, clock=doubtful) == 1
    doubtful.trusted = True
    assert await keep(database, clock=doubtful) == 2


async def test_more_than_a_slice_goes_in_one_round(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "DELETE_ROWS", 7)
    monkeypatch.setattr(retention_module, "MAX_CHOSEN", 20)
    quarantine(database, [f"d{number % 9}" for number in range(100)], at=NOW - timedelta(days=8))
    quarantine(database, [f"d{number % 9}" for number in range(100)])
    assert await keep(database, max_bytes=40_000) == 160
    counts = look(database, "SELECT count(*) FROM quarantine_events GROUP BY device_id")
    assert sorted(count for (count,) in counts) == [4] * 5 + [5] * 4
    check_totals(database)


async def test_a_large_tenant_is_brought_below_its_cap_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "LARGE", 50)
    quarantine(database, ["a"] * 101)
    assert await keep(database, max_bytes=100_000) == 6
    quarantine(database, ["a"] * 5)
    assert await keep(database, max_bytes=100_000) == 0


async def test_the_reach_of_held_messages_follows_evictions(database: Database) -> None:
    assert await how_far(database, "acme") == HeldReach(0, 0, 0, 0, 0, None, None)
    quarantine(database, ["a", "a", "b", "a"])
    quarantine(database, ["a"], status="DISMISSED")
    quarantine(database, ["a"], at=NOW - timedelta(days=1), reason="INVALID_JSON")
    before = await how_far(database, "acme")
    assert (before.messages, before.bytes, before.held, before.held_bytes) == (6, 6000, 5, 5000)
    assert (before.evicted, before.complete_since, before.oldest) == (0, None, NOW)
    await keep(database, max_bytes=3000)
    after = await how_far(database, "acme")
    assert (after.held, after.evicted) == (3, 2)
    assert after.complete_since == NOW + timedelta(microseconds=1)
    assert after.oldest == NOW + timedelta(microseconds=2)
    assert await how_far(database, OPERATOR) == HeldReach(0, 0, 0, 0, 0, None, None)


async def test_the_first_eviction_is_an_error_and_the_following_are_not(database: Database) -> None:
    with structlog.testing.capture_logs() as logs:
        quarantine(database, ["a"] * 3)
        await keep(database, max_bytes=2000)
        quarantine(database, ["a"] * 3)
        await keep(database, max_bytes=2000)
        arrange(database, "UPDATE quarantine_totals SET evicted_at = evicted_at - interval '2 days'")
        quarantine(database, ["a"] * 3)
        await keep(database, max_bytes=2000)
    logged = [(entry["log_level"], entry["messages"]) for entry in logs if "full" in entry["event"]]
    assert logged == [("error", 1), ("info", 3), ("error", 3)]


async def test_peers_take_turns_and_evict_no_more_than_must_go(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "DELETE_ROWS", 5)
    monkeypatch.setattr(retention_module, "PAUSE", 0.001)
    quarantine(database, [f"d{number % 7}" for number in range(200)])
    gone: list[int] = []

    async def peer() -> None:
        gone.append(await keep(database, max_bytes=50_000, rounds=20))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(peer)
    assert sum(gone) == 150
    assert evicted(database) == [("acme", 150)]
    assert len(left(database)) == 50


async def test_what_is_decided_on_while_it_is_chosen_stays(database: Database) -> None:
    quarantine(database, ["a"] * 4)
    async with open_pool(database.conninfo(INGEST), name="retention", max_size=2) as pool:
        retention = QuarantineRetention(pool, "one", SystemClock(), Quarantine(max_bytes=2000), Metrics())
        ids = [event_id for (event_id,) in look(database, "SELECT id FROM quarantine_events ORDER BY id")]
        arrange(database, f"UPDATE quarantine_events SET status = 'REPLAYED', decided_at = now() WHERE id = {ids[0]}")
        assert await retention._evict("acme", 2000, ids[:2], held=True) == 1
    assert look(database, "SELECT status FROM quarantine_events ORDER BY id") == [("REPLAYED",), ("HELD",), ("HELD",)]


async def test_what_was_chosen_before_a_peer_made_room_stays(database: Database) -> None:
    quarantine(database, ["a"] * 6)
    async with open_pool(database.conninfo(INGEST), name="retention", max_size=2) as pool:
        retention = QuarantineRetention(pool, "one", SystemClock(), Quarantine(max_bytes=3000), Metrics())
        chosen, _ = await retention._choose("acme", 3000)
        assert len(chosen) == 3
        arrange(database, f"DELETE FROM quarantine_events WHERE id IN ({chosen[0]}, {max(chosen) + 1})")
        assert await retention._evict("acme", 3000, chosen, held=True) == 1
        assert await retention._evict("acme", 3000, chosen, held=True) is None
    assert len(left(database)) == 3


async def test_a_round_that_fails_is_made_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "SWEEP_SECONDS", 0.02)
    quarantine(database, ["a"] * 3)
    arrange(database, "REVOKE SELECT ON quarantine_totals FROM appliance_ingest")
    async with (
        open_pool(database.conninfo(INGEST), name="retention", max_size=2) as pool,
        trio.open_nursery() as nursery,
    ):
        with structlog.testing.capture_logs() as logs:
            await nursery.start(
                QuarantineRetention(pool, "one", SystemClock(), Quarantine(max_bytes=2000), Metrics()).run
            )
            await until(lambda: len(logs) > 1)
        arrange(database, "GRANT SELECT ON quarantine_totals TO appliance_ingest")
        await until(lambda: len(left(database)) == 2)
        nursery.cancel_scope.cancel()


async def test_totals_follow_every_kind_of_change(database: Database) -> None:
    quarantine(database, ["a", "b"])
    quarantine(database, ["a"], tenant=None)
    arrange(database, "UPDATE quarantine_events SET detail = 'longer' WHERE device_id = 'a'")
    check_totals(database)
    arrange(database, "UPDATE quarantine_events SET tenant_id = 'acme' WHERE tenant_id IS NULL")
    check_totals(database)
    arrange(database, "DELETE FROM quarantine_events WHERE device_id = 'b'")
    check_totals(database)
    arrange(database, "TRUNCATE quarantine_events")
    check_totals(database)


async def test_nobody_but_the_triggers_writes_totals(database: Database) -> None:
    quarantine(database, ["a"])
    for role in (INGEST, "appliance_web"):
        with psycopg.connect(database.conninfo(role)) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("UPDATE quarantine_totals SET bytes = 0")
            connection.rollback()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("INSERT INTO quarantine_totals (tenant_id) VALUES ('x')")
