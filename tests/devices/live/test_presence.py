"""Presence: what it is, and that Python and the database agree on it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.devices.live.presence import (
    ListeningPeriod,
    Presence,
    PresenceThresholds,
    Traffic,
    counts,
    presence_at,
    silence_since,
)
from tests.support import soak
from tests.support.postgres_server import Database
from tests.support.tenants import customer, ingest

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = PresenceThresholds(stale_after=90, offline_after=300)
LONG = [ListeningPeriod(NOON - timedelta(days=30), NOON)]


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


def seen(seconds: float, **more: Any) -> Traffic:
    return Traffic(seen_at=ago(seconds), heard_at=ago(seconds), **more)


def presence(
    traffic: Traffic,
    interval: float | None = None,
    listening: Sequence[ListeningPeriod] = LONG,
    limits: PresenceThresholds = LIMITS,
) -> Presence:
    return presence_at(traffic, interval, listening, limits)


def test_a_device_is_stale_after_three_intervals_and_offline_after_ten() -> None:
    assert presence(seen(179), 60) is Presence.ONLINE
    assert presence(seen(180), 60) is Presence.STALE
    assert presence(seen(599), 60) is Presence.STALE
    assert presence(seen(600), 60) is Presence.OFFLINE


def test_a_short_interval_counts_no_less_than_the_limits() -> None:
    assert presence(seen(89), 1) is Presence.ONLINE
    assert presence(seen(90), 1) is Presence.STALE
    assert presence(seen(299), None) is Presence.STALE
    assert presence(seen(300), None) is Presence.OFFLINE


def test_a_learned_interval_counts_unless_a_person_set_one() -> None:
    assert presence(seen(1000, learned_interval=600)) is Presence.ONLINE
    assert presence(seen(1000, learned_interval=600), 10) is Presence.OFFLINE


def test_a_device_of_which_nothing_ever_came_is_new_and_not_offline() -> None:
    assert presence(Traffic()) is Presence.NEW
    assert presence(Traffic(), 1) is Presence.NEW, "whatever interval a person expects"
    assert presence(Traffic(offline_at=ago(1))) is Presence.OFFLINE, "its will came"


def test_a_device_of_which_only_messages_over_its_limit_came_is_not_new_and_falls_silent() -> None:
    assert presence(Traffic(heard_at=ago(1))) is Presence.ONLINE
    assert presence(Traffic(heard_at=ago(300))) is Presence.OFFLINE


def test_a_device_that_said_offline_is_offline_at_once_and_until_it_talks() -> None:
    assert presence(seen(1, offline_at=ago(1))) is Presence.OFFLINE
    assert presence(seen(1, offline_at=ago(2))) is Presence.ONLINE
    refused = Traffic(seen_at=ago(900), heard_at=ago(20), refused_at=ago(20))
    assert presence(replace(refused, offline_at=ago(10))) is Presence.OFFLINE
    assert presence(replace(refused, offline_at=ago(30))) is Presence.REFUSED


def test_a_device_that_talks_and_is_not_accepted_is_refused_and_not_silent() -> None:
    assert presence(Traffic(seen_at=ago(86_400), heard_at=ago(1), refused_at=ago(1))) is Presence.REFUSED
    assert presence(Traffic(heard_at=ago(1), refused_at=ago(1))) is Presence.REFUSED
    assert presence(Traffic(seen_at=ago(1), heard_at=ago(1), refused_at=ago(2))) is Presence.ONLINE


def test_a_refused_device_that_stops_talking_is_offline() -> None:
    assert presence(Traffic(seen_at=ago(900), heard_at=ago(299), refused_at=ago(299))) is Presence.REFUSED
    assert presence(Traffic(seen_at=ago(900), heard_at=ago(300), refused_at=ago(300))) is Presence.OFFLINE


def test_our_own_absence_is_not_held_against_a_device_which_has_its_full_interval_again() -> None:
    back = [ListeningPeriod(ago(7200), ago(4000)), ListeningPeriod(ago(80), NOON)]
    assert presence(seen(4050), listening=back) is Presence.ONLINE
    later = [back[0], ListeningPeriod(ago(90), NOON)]
    assert presence(seen(4050), listening=later) is Presence.STALE


def test_a_device_that_was_offline_before_our_absence_stays_so() -> None:
    back = [ListeningPeriod(ago(7200), ago(4000)), ListeningPeriod(ago(1), NOON)]
    assert presence(seen(4300), listening=back) is Presence.OFFLINE


def test_nobody_is_silent_whom_nobody_listened_to() -> None:
    assert presence(seen(86_400), listening=[]) is Presence.ONLINE
    assert silence_since(ago(1), []) == 0


moments = st.one_of(st.none(), st.integers(-500, 20_000).map(ago))
spans = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 3000)), max_size=6)
lengths = st.one_of(st.none(), st.sampled_from([1.0, 30.0, 30.1, 100.0, 600.0, 0.001]))


def laid_out(given_spans: Sequence[tuple[int, int]]) -> list[ListeningPeriod]:
    """Stretches that neither touch nor overlap, from pairs of (seconds ago, length)."""
    found: list[ListeningPeriod] = []
    for began, length in sorted(given_spans, reverse=True):
        stretch = ListeningPeriod(ago(began), ago(began) + timedelta(seconds=length))
        if not found or stretch.began_at > found[-1].ended_at:
            found.append(stretch)
    return found


@settings(max_examples=soak.times(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heard=st.lists(st.tuples(moments, moments, moments, moments, lengths, lengths), min_size=1, max_size=20),
    listened=spans,
    stale=st.sampled_from([1.0, 90.0]),
)
def test_the_database_says_the_same(
    database: Database,
    heard: list[tuple[datetime | None, datetime | None, datetime | None, datetime | None, float | None, float | None]],
    listened: list[tuple[int, int]],
    stale: float,
) -> None:
    listening, limits = laid_out(listened), PresenceThresholds(stale, 300)
    expected, rows = {}, []
    for number, (seen_at, heard_at, refused_at, offline_at, learned, interval) in enumerate(heard):
        newest = max((at for at in (seen_at, heard_at, refused_at) if at is not None), default=None)
        expected[f"d{number}"] = str(
            presence_at(Traffic(seen_at, newest, refused_at, offline_at, learned), interval, listening, limits)
        )
        rows.append((f"d{number}", seen_at, newest, refused_at, offline_at, learned, interval))
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        connection.execute("UPDATE presence_limits SET stale_after = %s, offline_after = 300", [stale])
        for stretch in listening:
            connection.execute("INSERT INTO listening VALUES ('one', %s, %s)", [stretch.began_at, stretch.ended_at])
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, interval_seconds)"
            " VALUES (now(), now(), 'acme', %s, 'PENDING', %s)",
            [(device, interval) for device, *_, interval in rows],
        )
        cursor.executemany(
            "INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at, refused_at,"
            " refused_reason, offline_at, learned_interval) VALUES ('acme', %s, %s, %s, %s, %s, %s, %s)",
            [
                (device, seen_at, heard_at, refused_at, refused_at and "SITE_MISMATCH", offline_at, learned)
                for device, seen_at, heard_at, refused_at, offline_at, learned, _ in rows
                if seen_at or heard_at or offline_at or learned
            ],
        )
        found = connection.execute(
            "SELECT d.device_id, presence_of(s, d.interval_seconds, w) FROM device_registry AS d"
            " LEFT JOIN device_state AS s USING (tenant_id, device_id)"
            " JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')"
        ).fetchall()
        connection.rollback()
    assert dict(found) == expected


TEN_THOUSAND = """
INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme'), (now(), now(), 'rival');
INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start,
  term_end, status)
SELECT now(), 'SUB-' || nextval('subscription_numbers'), t, 'MAIN', 20000, now(), now() + interval '1 year',
  'ACTIVE' FROM unnest(ARRAY['acme', 'rival']) AS t;
INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
SELECT now(), now(), CASE WHEN n <= 10000 THEN 'acme' ELSE 'rival' END, 'd' || n, 'ACTIVE', s.subscription_id
FROM generate_series(1, 10100) AS n
JOIN subscriptions AS s ON s.tenant_id = CASE WHEN n <= 10000 THEN 'acme' ELSE 'rival' END;
INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at)
SELECT tenant_id, device_id, now() - substr(device_id, 2)::int * interval '1 second', now() FROM device_registry;
INSERT INTO listening SELECT 'one', now() - n * interval '1 hour', now() - n * interval '1 hour' + interval '59 minutes'
FROM generate_series(2, 90) AS n;
INSERT INTO listening VALUES ('one', now() - interval '1 hour', now());
ANALYZE
"""


async def test_ten_thousand_devices_are_counted_behind_the_walls_by_an_expression_in_the_query(
    database: Database,
) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        for statement in TEN_THOUSAND.split(";"):
            connection.execute(statement.encode())
    async with customer(database, "acme") as connection_of_acme:
        found = await counts(connection_of_acme, "acme")
        assert found == {Presence.ONLINE: 89, Presence.STALE: 210, Presence.OFFLINE: 9701, Presence.REFUSED: 0} | {
            Presence.NEW: 0
        }
        assert sum((await counts(connection_of_acme, None)).values()) == 10_000
        plan = await connection_of_acme.execute(
            "EXPLAIN (VERBOSE) SELECT presence_of(s, d.interval_seconds, w), count(*) FROM device_registry AS d"
            " LEFT JOIN device_state AS s USING (tenant_id, device_id)"
            " JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '') GROUP BY 1"
        )
        text = "\n".join(row[0] for row in await plan.fetchall())
        assert "presence_of" not in text
        assert "silence_since" not in text
    async with ingest(database) as connection_of_all:
        assert sum((await counts(connection_of_all, None)).values()) == 10_100
