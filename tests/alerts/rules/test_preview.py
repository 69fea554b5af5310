"""The preview opens what the stream would have opened, and says what it looked at."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import trio
from psycopg.types.json import Jsonb

from appliance.alerts.kinds.kind import Event, KindName, Memory, RuleState, Sample, Step
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.rules import findings, preview, silence_preview
from appliance.alerts.rules.findings import Preview, PreviewedRule, Stop
from appliance.alerts.rules.rule import Scope
from appliance.alerts.rules.silence_preview import Stretch
from tests.alerts.kinds.driver import evaluate, samples
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.tenants import customer

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = 60.0
WARM: dict[str, Any] = {"metric": "temperature", "operator": "GT", "value": 6}
WEEK = "SELECT telemetry_ensure_partitions('2026-11-15', '2026-11-24')"
digests = itertools.count(1)


def draft(kind: KindName = KindName.THRESHOLD, scope: Scope | None = None, **parameters: Any) -> PreviewedRule:
    """Return a rule that is not saved."""
    return PreviewedRule(KINDS[kind], KINDS[kind].parse(parameters), scope or Scope())


def add_device(database: Database, device_id: str, latest: Mapping[str, Any], **columns: Any) -> None:
    """Add an active device with its newest values."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # whose seat it has is no matter here
        status = columns.get("status", "ACTIVE")
        seat = "S" if status == "ACTIVE" else None
        connection.execute(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, site_id, tags,"
            " subscription_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [NOW, NOW, TENANT, device_id, status, columns.get("site"), columns.get("tags", []), seat],
        )
        connection.execute(
            "INSERT INTO device_state (tenant_id, device_id, latest) VALUES (%s, %s, %s)",
            [TENANT, device_id, Jsonb(latest)],
        )


def store(
    database: Database, device_id: str, values: Sequence[Mapping[str, Any]], *, every: float, late: bool = False
) -> None:
    """Store readings, the last one at NOW."""
    first = NOW - timedelta(seconds=every * (len(values) - 1))
    rows = [(first + timedelta(seconds=every * index), value) for index, value in enumerate(values)]
    with psycopg.connect(database.conninfo()) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
            " VALUES (%s, %s, 'telemetry', %s, %s, %s, false, %s, %s)",
            [(TENANT, device_id, at, next(digests), at, late, Jsonb(value)) for at, value in rows],
        )


@pytest.fixture
def fleet(database: Database) -> Database:
    """A tenant with a week of partitions, listened to for as long."""
    arrange(
        database,
        WEEK,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme') ON CONFLICT DO NOTHING",
        "INSERT INTO listening VALUES ('here', '2026-11-10', '2026-11-23 12:00+00')",
    )
    return database


def temperatures(*values: float) -> list[dict[str, Any]]:
    """Return readings of a temperature."""
    return [{"temperature": value} for value in values]


async def looked(database: Database, what: PreviewedRule) -> Preview:
    """Return the preview that somebody of the tenant sees."""
    async with customer(database, TENANT) as connection:
        await connection.execute("SELECT set_config('transaction_read_only', 'on', true)")
        return await preview.run(connection, TENANT, what, now=NOW)


async def test_an_opening_has_its_device_its_times_and_the_value_farthest_beyond_the_limit(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7})
    store(fleet, "d-1", temperatures(5, 7, 9, 8, 5, 5, 7), every=MINUTE)
    found = await looked(fleet, draft(**WARM))
    at = NOW.timestamp()
    assert [(one.device_id, one.started_at, one.ended_at, one.value, one.extreme) for one in found.openings] == [
        ("d-1", at, None, 7, 7),
        ("d-1", at - 5 * MINUTE, at - 2 * MINUTE, 7, 9),
    ]
    assert (found.alerts, found.by_device, found.readings, found.stopped) == (2, {"d-1": 2}, 7, None)


async def test_a_duration_a_clearing_value_and_a_further_condition_are_those_of_the_stream(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7, "door": False})
    readings = [{"temperature": 7, "door": False}] * 3 + [{"door": True}, {"temperature": 7}, {"temperature": 5}]
    store(fleet, "d-1", readings, every=MINUTE)
    while_closed = [{"metric": "door", "operator": "EQ", "value": False, "max_age_seconds": 600}]
    found = await looked(fleet, draft(**WARM, for_seconds=120, conditions=while_closed))
    at = NOW.timestamp()
    assert [(one.started_at, one.ended_at) for one in found.openings] == [(at - 3 * MINUTE, at - MINUTE)]


async def test_readings_that_came_late_open_nothing(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 5})
    store(fleet, "d-1", temperatures(9, 9), every=MINUTE, late=True)
    store(fleet, "d-1", temperatures(5, 5), every=90.0)
    found = await looked(fleet, draft(**WARM))
    assert (found.alerts, found.readings) == (0, 2)


async def test_a_window_is_full_when_the_days_begin(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7})
    days = [0.0] * 142 + [100.0] + [0.0] * (7 * 144 + 1)
    store(fleet, "d-1", temperatures(*days), every=600)
    wide = draft(
        KindName.WINDOW, metric="temperature", operator="GT", value=50, aggregate="max", window_seconds=6 * 3600
    )
    found = await looked(fleet, wide)
    first = NOW.timestamp() - 7 * 86_400
    assert [one.started_at for one in found.openings] == [first]


async def test_only_the_devices_of_the_scope_that_send_the_metric_are_looked_at(fleet: Database) -> None:
    add_device(fleet, "a-1", {"temperature": 7}, tags=["cold"])
    add_device(fleet, "a-2", {"humidity": 7}, tags=["cold"])
    add_device(fleet, "b-1", {"temperature": 7}, site="bergen")
    add_device(fleet, "b-2", {"temperature": 7}, tags=["cold"], status="INACTIVE")
    for device_id in ("a-1", "b-1", "b-2"):
        store(fleet, device_id, temperatures(5, 7), every=MINUTE)
    everywhere = await looked(fleet, draft(**WARM))
    assert (everywhere.covered, everywhere.reporting) == (["a-1", "a-2", "b-1"], ["a-1", "b-1"])
    for scope, expected in (
        (Scope(tags=("cold",)), ["a-1", "a-2"]),
        (Scope(site_ids=("bergen",)), ["b-1"]),
        (Scope(device_prefixes=("a-",), device_ids=("b-1",)), ["a-1", "a-2", "b-1"]),
        (Scope(device_ids=("nobody",)), []),
    ):
        assert (await looked(fleet, draft(**WARM, scope=scope))).covered == expected


async def test_many_devices_and_pages_are_the_same_as_the_step_over_each(
    fleet: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PAGE", 7)
    monkeypatch.setattr(preview, "DEVICES_AT_ONCE", 3)
    chance = random.Random(1)
    expected = {}
    for number in range(8):
        values = [chance.choice([4, 5, 7, 8]) for _ in range(chance.choice([0, 1, 7, 14, 20]))]
        add_device(fleet, f"d-{number}", {"temperature": 1})
        store(fleet, f"d-{number}", temperatures(*values), every=MINUTE)
        expected[f"d-{number}"] = sum(
            later > 6 and not earlier > 6 for earlier, later in zip([0, *values], values, strict=False)
        )
    found = await looked(fleet, draft(**WARM))
    assert found.by_device == {device: count for device, count in expected.items() if count}
    assert (found.checked, found.alerts) == (8, sum(expected.values()))


async def test_it_stops_after_so_many_readings_and_says_how_far_it_came(
    fleet: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PAGE", 10)
    monkeypatch.setattr(findings, "MAX_READINGS", 10)
    for device_id in ("d-1", "d-2"):
        add_device(fleet, device_id, {"temperature": 7})
        store(fleet, device_id, temperatures(*[7] * 8), every=MINUTE)
    found = await looked(fleet, draft(**WARM))
    assert (found.stopped, found.checked, found.readings) == (Stop.READINGS, 1, 10)


SERIES_RULES: Sequence[tuple[KindName, Mapping[str, Any]]] = (
    (KindName.THRESHOLD, WARM),
    (KindName.THRESHOLD, WARM | {"clear_value": 4.5, "for_seconds": 90, "clear_for_seconds": 60}),
    (KindName.THRESHOLD, WARM | {"operator": "LTE", "for_count": 3}),
    (
        KindName.THRESHOLD,
        WARM | {"conditions": [{"metric": "door", "operator": "EQ", "value": True, "max_age_seconds": 120}]},
    ),
    (KindName.WINDOW, WARM | {"aggregate": "avg", "window_seconds": 300, "clear_value": 5.5}),
    (KindName.WINDOW, WARM | {"aggregate": "min", "window_seconds": 120, "operator": "GTE"}),
    (KindName.CHANGE, {"metric": "door", "to": True}),
    (KindName.CHANGE, {"metric": "door", "clear_for_seconds": 150}),
)


async def test_random_series_open_and_close_as_the_step_of_the_stream_says(
    fleet: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PAGE", 64)
    chance = random.Random(7)
    values: list[Mapping[str, Any]] = [
        {
            name: value
            for name, value in (("temperature", chance.choice([3, 5, 5.2, 7, 8.5])), ("door", chance.random() < 0.4))
            if chance.random() < 0.8
        }
        for _ in range(600)
    ]
    add_device(fleet, "d-1", {"temperature": 1, "door": True})
    store(fleet, "d-1", values, every=30.0)
    first = round((NOW.timestamp() - 30 * 599) * preview.MICRO)
    readings = [(first + index * 30 * preview.MICRO, value) for index, value in enumerate(values) if value]
    for kind, parameters in SERIES_RULES:
        rule = draft(kind, **parameters)
        judged = list(evaluate(rule.kind, rule.parameters, samples(readings)))
        opened = [sample.ts / preview.MICRO for sample, step in judged if step.event is Event.OPENED]
        closed = [sample.ts / preview.MICRO for sample, step in judged if step.event is Event.CLOSED]
        assert len(opened) > 3, "a series that opens nothing tries nothing"
        found = (await looked(fleet, rule)).openings[::-1]
        assert [one.started_at for one in found] == opened, (kind, parameters)
        assert [one.ended_at for one in found if one.ended_at is not None] == closed, (kind, parameters)


async def test_the_scope_is_that_of_the_stream(fleet: Database) -> None:
    chance = random.Random(3)
    devices: dict[str, tuple[str | None, list[str]]] = {}
    for number in range(12):
        name = f"{chance.choice('ab')}-{number}"
        devices[name] = (
            chance.choice([None, "s-1", "s-2"]),
            chance.sample(["cold", "wet", "new"], chance.randint(0, 2)),
        )
        add_device(fleet, name, {"temperature": 7}, site=devices[name][0], tags=devices[name][1])
    for _ in range(30):
        scope = Scope(
            site_ids=tuple(chance.sample(["s-1", "s-2"], chance.randint(0, 1))),
            tags=tuple(chance.sample(["cold", "wet"], chance.randint(0, 1))),
            device_prefixes=tuple(chance.sample(["a", "b-1"], chance.randint(0, 1))),
            device_ids=tuple(chance.sample(sorted(devices), chance.randint(0, 2))),
        )
        expected = [name for name, (site, tags) in sorted(devices.items()) if scope.covers(name, site, tags)]
        assert (await looked(fleet, draft(**WARM, scope=scope))).covered == expected, scope


async def test_others_have_their_turn_while_readings_are_judged(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7})
    store(fleet, "d-1", temperatures(*[7, 5] * 500), every=MINUTE)
    rule, turns, seen = draft(**WARM), 0, Counter[int]()
    judge = rule.kind.step
    assert judge is not None

    def counting(parameters: Any, state: RuleState, sample: Sample, memory: Memory | None) -> Step:
        seen[turns] += 1
        return judge(parameters, state, sample, memory)

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        assert (await looked(fleet, rule._replace(kind=rule.kind._replace(step=counting)))).alerts == 500
        nursery.cancel_scope.cancel()
    assert sum(seen.values()) == 1000
    assert max(seen.values()) <= 2 * preview.TURN, "Trio runs what is ready in any order"


async def test_it_stops_when_its_time_is_over(fleet: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MAX_SECONDS", 0.0)
    add_device(fleet, "d-1", {"temperature": 7})
    store(fleet, "d-1", temperatures(7), every=MINUTE)
    assert (await looked(fleet, draft(**WARM))).stopped is Stop.TIME


async def test_a_statement_that_takes_too_long_is_stopped_and_what_was_found_stays(
    fleet: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = dict(findings.STATEMENTS) | {"read_readings": "SELECT pg_sleep(60), %(after_ts)s, %(after_digest)s"}
    monkeypatch.setattr("appliance.alerts.rules.preview.STATEMENTS", slow)
    monkeypatch.setattr("appliance.alerts.rules.preview.MAX_SECONDS", 0.05)
    add_device(fleet, "d-1", {"temperature": 7})
    async with customer(fleet, TENANT) as connection:
        found = await preview.run(connection, TENANT, draft(**WARM), now=NOW)
        assert (found.stopped, found.covered) == (Stop.TIME, ["d-1"])
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_silence_opens_when_it_has_lasted_and_closes_with_the_next_message(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7})
    store(fleet, "d-1", temperatures(1, 1, 1), every=3600.0)
    found = await looked(fleet, draft(KindName.NO_DATA, seconds=1800))
    at = NOW.timestamp()
    assert [(one.started_at, one.ended_at) for one in found.openings] == [
        (at - 1800, at),
        (at - 5400, at - 3600),
    ]


async def test_silence_of_a_metric_is_not_ended_by_other_readings(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7, "door": True})
    store(fleet, "d-1", [{"temperature": 1}, {"door": True}, {"door": True}], every=3600.0)
    found = await looked(fleet, draft(KindName.NO_DATA, seconds=5400, metric="temperature"))
    assert [(one.started_at, one.ended_at) for one in found.openings] == [(NOW.timestamp() - 1800, None)]
    assert (await looked(fleet, draft(KindName.NO_DATA, seconds=5400))).alerts == 0


async def test_without_seconds_of_its_own_a_device_is_silent_when_it_turns_offline(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7})
    store(fleet, "d-1", temperatures(1, 1), every=400.0)
    assert (await looked(fleet, draft(KindName.NO_DATA))).alerts == 1
    arrange(fleet, "UPDATE device_state SET learned_interval = 60")
    assert (await looked(fleet, draft(KindName.NO_DATA))).alerts == 0


def test_what_the_appliance_missed_is_not_held_against_a_device() -> None:
    def opened(*listened: Stretch) -> Iterator[float]:
        return (one.started_at for one in silence_preview.openings("d", iter([(0, 100)]), 100, 30, listened, 100))

    assert list(opened(Stretch(-50, 200))) == [30]
    assert list(opened(Stretch(-50, 20), Stretch(60, 200))) == [90]
    assert list(opened(Stretch(-50, 20), Stretch(80, 200))) == []
    assert list(opened()) == []


async def test_another_tenant_sees_nothing_of_it(fleet: Database) -> None:
    add_device(fleet, "d-1", {"temperature": 7})
    store(fleet, "d-1", temperatures(7), every=MINUTE)
    async with customer(fleet, "rival") as connection:
        found = await preview.run(connection, TENANT, draft(**WARM), now=NOW)
    assert (found.covered, found.readings) == ([], 0)
