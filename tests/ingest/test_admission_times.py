"""Admission of messages by their time: which times count, which are too old, and what tells two messages apart."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import pytest

from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.reading import Reason
from tests.support.admission import NOW, SECOND, TOPIC, admission, admit, only_refusal


def test_a_missing_time_is_the_time_of_receipt_and_not_flagged() -> None:
    reading = admit((TOPIC, b'{"a":1}')).readings[0]
    assert (reading.ts, reading.adjusted, reading.late) == (NOW, False, False)


def test_messages_without_a_time_that_come_together_keep_their_order() -> None:
    by = admission()
    readings = admit(*[(TOPIC, b'{"n":%d}' % n) for n in range(40)], by=by).readings
    assert [reading.ts for reading in readings] == list(range(NOW, NOW + 40))
    assert not any(reading.late for reading in readings)
    again = admit((TOPIC, b'{"n":40}'), ("tenant/acme/device/other/telemetry", b'{"n":0}'), by=by).readings
    assert [reading.ts for reading in again] == [NOW + 40, NOW], "the next batch goes on; each device counts by itself"
    early = admit((TOPIC, b'{"n":41}'), by=by, at=NOW - 10).readings[0]
    assert (early.ts, early.late) == (NOW + 41, False)


def test_times_that_count_as_not_carried_keep_their_order_too() -> None:
    readings = admit(*[(TOPIC, b'{"ts":%d,"n":1}' % n) for n in range(40)]).readings
    assert [reading.ts for reading in readings] == list(range(NOW, NOW + 40))
    assert all(reading.adjusted for reading in readings)


def test_messages_with_a_time_of_their_own_are_left_at_it() -> None:
    by = admission()
    admit(*[(TOPIC, b"{}")] * 3, by=by)
    own = admit(*[(TOPIC, b'{"ts":1764000000,"n":%d}' % n) for n in range(3)], by=by).readings
    assert [reading.ts for reading in own] == [NOW] * 3


@pytest.mark.parametrize(
    "ts", [b"0", b"-5", b"1e300", b"-1e300", b"1.7e308", b"-1.7e308", b"9223372036854775807", b"1577836799.999"]
)
def test_a_clock_that_was_never_set_or_is_far_ahead_counts_as_no_time(ts: bytes) -> None:
    reading = admit((TOPIC, b'{"ts":%b,"a":1}' % ts)).readings[0]
    assert (reading.ts, reading.adjusted) == (NOW, True)


def test_the_allowed_skew_ends_at_300_seconds() -> None:
    ahead = (NOW + 300 * SECOND) // SECOND
    assert admit((TOPIC, b'{"ts":%d}' % ahead)).readings[0].ts == ahead * SECOND
    assert admit((TOPIC, b'{"ts":%d}' % (ahead + 1))).readings[0].adjusted


def test_a_time_before_the_retention_is_refused() -> None:
    oldest = NOW // SECOND - 30 * 86_400
    assert admit((TOPIC, b'{"ts":%d}' % oldest)).readings[0].ts == oldest * SECOND
    assert only_refusal(admit((TOPIC, b'{"ts":%d}' % (oldest - 1)))) is Reason.TIMESTAMP_TOO_OLD


def test_a_reading_of_a_day_that_has_gone_for_room_is_too_old() -> None:
    kept_since = KeptSince(30)
    day = datetime.fromtimestamp(NOW // SECOND, UTC).date() - timedelta(days=3)
    first = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND
    closed = admission(kept_since=kept_since)
    assert len(admit((TOPIC, b'{"ts":%d}' % (first // SECOND - 1)), by=closed).readings) == 1
    kept_since.set(day)
    batch = admit((TOPIC, b'{"ts":%d}' % (first // SECOND - 1)), by=closed)
    assert [(one.reason, one.detail) for one in batch.refused] == [
        (
            Reason.TIMESTAMP_TOO_OLD,
            f"of a day that has gone to make room: readings are kept from {day} on (days of UTC)",
        )
    ]
    assert len(admit((TOPIC, b'{"ts":%d}' % (first // SECOND)), by=closed).readings) == 1
    kept_since.set(None)
    assert len(admit((TOPIC, b'{"ts":%d}' % (first // SECOND - 1)), by=closed).readings) == 1


def test_an_older_reading_is_delayed_and_moves_nothing() -> None:
    by = admission()
    newer, older, same = b'{"ts":1763999990,"a":1}', b'{"ts":1763999980,"a":2}', b'{"ts":1763999990,"a":3}'
    readings = admit((TOPIC, newer), (TOPIC, older), (TOPIC, same), by=by).readings
    assert [reading.late for reading in readings] == [False, True, False]
    assert readings[0].state.newest == 1_763_999_990 * SECOND


def test_identity_is_the_kind_and_the_bytes_of_a_message_with_its_own_time() -> None:
    payload = b'{"ts":1763999990,"a":1}'
    again, other, heartbeat = (
        admit((TOPIC, payload)).readings[0],
        admit((TOPIC, payload + b" ")).readings[0],
        admit((TOPIC.replace("telemetry", "heartbeat"), payload)).readings[0],
    )
    assert again.digest == admit((TOPIC, payload)).readings[0].digest
    assert again.digest == blake2b(payload, digest_size=8, person=b"telemetry").digest()
    assert len({again.digest, other.digest, heartbeat.digest}) == 3


def test_a_message_without_its_own_time_is_never_taken_for_another() -> None:
    readings = admit(*[(TOPIC, b'{"a":1}')] * 1000).readings
    assert len({reading.digest for reading in readings}) == 1000


@pytest.mark.parametrize("years", [-56, -1, 10])
def test_in_doubt_a_time_right_by_the_wall_clock_counts_as_carried(years: int) -> None:
    offset = years * 365 * 86_400.0
    by_wall, never_set = NOW + round(offset) * SECOND, years == -56
    for ts in (by_wall, by_wall + 300 * SECOND, by_wall - 30 * 86_400 * SECOND):
        payload = b'{"ts":%d}' % (ts // SECOND)
        doubtful = admit((TOPIC, payload), by=admission(offset=offset))
        assert [(reading.ts, reading.adjusted) for reading in doubtful.readings] == [
            (NOW, True) if never_set else (ts, False)
        ]
        trusting = admit((TOPIC, payload))
        assert [reading.adjusted for reading in trusting.readings] == ([] if years == -1 else [True])


def test_in_doubt_a_time_right_by_service_time_counts_and_one_wrong_by_both_does_not() -> None:
    doubtful = admission(offset=10 * 365 * 86_400.0)
    own = admit((TOPIC, b'{"ts":%d}' % (NOW // SECOND - 5)), by=doubtful).readings[0]
    assert (own.ts, own.adjusted) == (NOW - 5 * SECOND, False)
    ahead = NOW // SECOND + 3 * 365 * 86_400
    assert admit((TOPIC, b'{"ts":%d}' % ahead), by=doubtful).readings[0].adjusted
    old = NOW // SECOND - 60 * 86_400
    assert only_refusal(admit((TOPIC, b'{"ts":%d}' % old), by=doubtful)) is Reason.TIMESTAMP_TOO_OLD
