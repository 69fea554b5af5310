"""The checks over a batch, without a database."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha256
from typing import Any

import pytest
from mqtt5 import PublishPacket

from appliance.config import Ingest, Retention
from appliance.devices.live.state import DeviceState
from appliance.devices.registry.cache import FOREVER, AdmissionStatus, TenantRules
from appliance.devices.registry.provisioning import DeviceKey
from appliance.ingest.admission import Admission, shown
from appliance.ingest.batch import Batch, Reading
from appliance.ingest.charging import Charging
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.reading import HOP_COUNT, Reason, Refusal
from tests.support.limiter import limiter_of

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
TOPIC = "tenant/acme/device/d-1/telemetry"
KEY = ("acme", "d-1")


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    retain: bool = False
    user_properties: tuple[tuple[str, str], ...] = ()


class Everyone:
    """A registry in which each device of each tenant is registered and ACTIVE, unless a test says otherwise."""

    def __init__(self) -> None:
        self.known_tenant = TenantRules(known=True, active=True)
        self.statuses: dict[DeviceKey, AdmissionStatus | None] = {}

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        del now
        if key not in self.statuses:
            self.statuses[key] = self.status(key)
        return self.statuses[key]

    def tenant(self, tenant_id: str) -> TenantRules | None:
        return None if tenant_id == "unheard-of" else self.known_tenant

    def status(self, key: DeviceKey, refusal: Refusal | None = None) -> AdmissionStatus:
        status = AdmissionStatus(self.known_tenant, refusal, FOREVER, registered=True)
        status.state = DeviceState(*key)
        return status


def admission(
    registry: Everyone | None = None,
    limiter: Limiter | None = None,
    *,
    offset: float | None = None,
    kept_since: KeptSince | None = None,
    **ingest: Any,
) -> Admission:
    return Admission(
        Ingest(**ingest),
        kept_since or KeptSince(Retention().days),
        registry or Everyone(),
        Charging(limiter or limiter_of(rate=1e6, burst=10_000_000, max_tracked_devices=1_000_000)),
        lambda: offset,
    )


def admit(*messages: tuple[str, bytes], by: Admission | None = None, at: int = NOW) -> Batch:
    return (by or admission()).admit([Message(*message) for message in messages], at, at / SECOND)


def only_index(readings: list[Reading]) -> int:
    assert len(readings) == 1
    return readings[0].index


def only_refusal(batch: Batch) -> Reason:
    assert (len(batch.refused), batch.readings) == (1, [])
    return batch.refused[0].reason


@pytest.mark.parametrize(
    "topic",
    ["", "tenant/a/device//telemetry", "tenant/a/device/x", "device/x/telemetry", f"{TOPIC}/", TOPIC.upper(),
     "tenant/a/device/../telemetry", "tenant/a/device/%2e%2e/telemetry", "tenant/a/device/a b/telemetry",
     "tenant/a/device/'; drop--/telemetry", "tenant/a/device/\u202e/telemetry", "tenant/a/device/\U0001f600/telemetry",
     f"tenant/a/device/{'x' * 65}/telemetry", "tenant/.a/device/x/telemetry", "tenant/a/device/x/temperature",
     "tenant/a/device/x/down", "x" * 65_535, "/" * 200],
)  # fmt: skip
def test_a_topic_outside_the_grammar_is_refused(topic: str) -> None:
    batch = admit((topic, b"{}"))
    assert only_refusal(batch) is Reason.BAD_TOPIC_FORMAT
    assert len(batch.refused[0].topic.encode()) <= 256


def test_a_payload_over_the_limit_is_refused_before_it_is_read() -> None:
    assert only_refusal(admit((TOPIC, b"\xff" * 16_385))) is Reason.PAYLOAD_TOO_LARGE
    assert only_refusal(admit((TOPIC, b"\xff" * 16_384))) is Reason.INVALID_ENCODING


def test_a_notice_that_was_passed_on_too_often_is_refused_whatever_it_says() -> None:
    by = admission(limiter=limiter_of(rate=1, burst=1))

    def passed_on(hops: str, kind: str = "telemetry") -> PublishPacket:
        properties = [("message-id", "x"), (HOP_COUNT, hops)]
        return PublishPacket(TOPIC.replace("telemetry", kind), b'{"a":1}', user_properties=properties)

    circling = [
        passed_on("4"),
        passed_on("99999999999999999999"),
        passed_on("4", "heartbeat"),
        passed_on("4", "status"),
    ]
    batch = by.admit(circling * 5, NOW, NOW / SECOND)
    assert {refused.reason for refused in batch.refused} == {Reason.INVALID_PAYLOAD}
    assert (len(batch.refused), batch.refused[0].detail) == (20, "hop-count 4; at most 3 are taken")
    for taken in (
        passed_on("3"),
        passed_on("-4"),
        passed_on("\u0664"),
        passed_on("many"),
        PublishPacket(TOPIC, b'{"a":1}'),
    ):
        assert len(admission().admit([taken], NOW, NOW / SECOND).readings) == 1


def test_an_empty_retained_payload_clears_a_topic_and_spends_nothing() -> None:
    by = admission(limiter=limiter_of(rate=1, burst=1))
    clearing = Message(TOPIC, b"", retain=True)
    batch = by.admit([clearing] * 20 + [Message(TOPIC, b'{"a":1}', retain=True)], NOW, NOW / SECOND)
    assert ([topic.index for topic in batch.cleared], batch.refused) == (list(range(20)), [])
    assert only_index(batch.readings) == 20, "a retained message with a content is a message like any other"
    for kind in ("heartbeat", "status"):
        assert len(by.admit([Message(TOPIC.replace("telemetry", kind), b"", retain=True)], NOW, 0.0).cleared) == 1
    bad = by.admit([Message("tenant/acme/device/d-1/else", b"", retain=True)], NOW, 0.0)
    assert only_refusal(bad) is Reason.BAD_TOPIC_FORMAT


def test_an_empty_payload_that_is_not_retained_clears_nothing() -> None:
    batch = admit((TOPIC, b""))
    assert (only_refusal(batch), batch.cleared) == (Reason.INVALID_PAYLOAD, [])


def test_ids_in_the_payload_must_be_the_topics() -> None:
    assert only_refusal(admit((TOPIC, b'{"tenant_id":"other"}'))) is Reason.TENANT_MISMATCH
    assert only_refusal(admit((TOPIC, b'{"device_id":"other"}'))) is Reason.DEVICE_MISMATCH
    assert admit((TOPIC, b'{"tenant_id":"acme","device_id":"d-1","a":1}')).readings[0].metrics == {"a": 1}


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


def test_a_device_that_is_not_in_memory_waits_and_is_taken_on_from_there() -> None:
    registry = Everyone()
    registry.statuses[KEY] = None
    by = admission(registry)
    batch = admit((TOPIC, b'{"a":1}'), (TOPIC, b"{"), (TOPIC, b'{"a":2}'), by=by)
    assert [candidate.index for candidate in batch.waiting] == [0, 2]
    assert [refused.index for refused in batch.refused] == [1]
    by.resume(batch, {KEY: registry.status(KEY)}, NOW / SECOND)
    assert ([reading.index for reading in batch.readings], batch.waiting) == ([0, 2], [])


def test_a_device_that_is_not_accepted_is_refused_with_the_reason_of_its_admission_status() -> None:
    registry = Everyone()
    registry.statuses[KEY] = registry.status(KEY, Refusal(Reason.DEVICE_INACTIVE, "the device is deactivated"))
    assert only_refusal(admit((TOPIC, b'{"a":1}'), by=admission(registry))) is Reason.DEVICE_INACTIVE


def test_the_bucket_comes_before_the_payload_is_read() -> None:
    by = admission(limiter=limiter_of(rate=1, burst=2))
    batch = admit((TOPIC, b'{"a":1}'), (TOPIC, b"{"), (TOPIC, b"{"), (TOPIC, b'{"a":2}'), by=by)
    assert [refused.reason for refused in batch.refused] == [
        Reason.INVALID_JSON,
        Reason.RATE_LIMITED,
        Reason.RATE_LIMITED,
    ]
    assert len(admit((TOPIC, b'{"a":1}'), by=by, at=NOW + SECOND).readings) == 1


def test_a_redelivered_message_is_not_charged_twice() -> None:
    by = admission(limiter=limiter_of(rate=1, burst=1))
    first = admit((TOPIC, b'{"ts":1763999990,"a":1}'), by=by)
    again = by.admit(first.messages, NOW, NOW / SECOND, frozenset({0}))
    assert (len(first.readings), len(again.readings)) == (1, 1)
    assert only_refusal(admit((TOPIC, b'{"a":2}'), by=by)) is Reason.RATE_LIMITED


def test_a_message_too_large_spends_no_token() -> None:
    by = admission(limiter=limiter_of(rate=1, burst=1))
    batch = admit((TOPIC, b"x" * 20_000), (TOPIC, b'{"a":1}'), by=by)
    assert (only_index(batch.readings), batch.refused[0].reason) == (1, Reason.PAYLOAD_TOO_LARGE)


def test_a_token_is_checked_when_it_is_given() -> None:
    registry = Everyone()
    status = registry.statuses[KEY] = registry.status(KEY)
    by = admission(registry)
    given = b'{"provision_token":"right","a":1}'
    assert only_refusal(admit((TOPIC, given), by=by)) is Reason.TOKEN_NOT_SET
    status.token_hash = sha256(b"other").digest()
    assert only_refusal(admit((TOPIC, given), by=by)) is Reason.TOKEN_INVALID
    status.previous_token_hash = sha256(b"right").digest()
    status.previous_token_until = NOW / SECOND + 1
    assert len(admit((TOPIC, given), by=by).readings) == 1
    assert only_refusal(admit((TOPIC, given), by=by, at=NOW + 2 * SECOND)) is Reason.TOKEN_INVALID
    status.token_hash = sha256(b"right").digest()
    reading = admit((TOPIC, given), by=by).readings[0]
    assert (reading.metrics, b"right" in reading.row) == ({"a": 1}, False)


def test_a_token_is_demanded_only_if_so_configured() -> None:
    registry = Everyone()
    status = registry.statuses[KEY] = registry.status(KEY)
    by = admission(registry, require_payload_token=True)
    assert only_refusal(admit((TOPIC, b'{"a":1}'), by=by)) is Reason.TOKEN_NOT_SET
    status.token_hash = sha256(b"right").digest()
    assert only_refusal(admit((TOPIC, b'{"a":1}'), by=by)) is Reason.TOKEN_MISSING


def test_a_site_must_be_the_devices_and_a_device_without_one_asks_for_it() -> None:
    registry = Everyone()
    status = registry.statuses[KEY] = registry.status(KEY)
    by = admission(registry)
    assert len(admit((TOPIC, b'{"site_id":"north","a":1}'), by=by).waiting) == 1
    status.site_id = "north"
    assert len(admit((TOPIC, b'{"site_id":"north","a":1}'), (TOPIC, b'{"a":1}'), by=by).readings) == 2
    assert only_refusal(admit((TOPIC, b'{"site_id":"south","a":1}'), by=by)) is Reason.SITE_MISMATCH


def test_what_follows_the_message_that_names_the_site_of_a_device_keeps_its_place_behind_it() -> None:
    registry = Everyone()
    status = registry.statuses[KEY] = registry.status(KEY)
    by = admission(registry)
    other = ("tenant/acme/device/other/telemetry", b'{"n":9}')
    batch = admit((TOPIC, b'{"site_id":"north","n":0}'), (TOPIC, b'{"n":1}'), other, (TOPIC, b'{"n":2}'), by=by)
    assert ([candidate.index for candidate in batch.waiting], only_index(batch.readings)) == ([0, 1, 3], 2)
    status.site_id = "north"
    by.resume(batch, {KEY: status}, NOW / SECOND)
    assert [(one.metrics["n"], one.ts) for one in batch.readings[1:]] == [(0, NOW), (1, NOW + 1), (2, NOW + 2)]


def test_the_first_check_that_fails_decides() -> None:
    """One message that fails every check, healed one check at a time: the reasons come in the order of the table."""
    registry = Everyone()
    limiter = limiter_of(rate=1, burst=1)
    by = admission(registry, limiter, max_payload_bytes=128)
    old = (NOW // SECOND) - 40 * 86_400
    seen = []

    def reason(topic: str, payload: bytes) -> None:
        nonlocal limiter
        seen.append(only_refusal(admit((topic, payload), by=by)))

    limiter.take("acme/d-1", NOW / SECOND)
    reason("bad", b"\xff" * 200)
    reason(TOPIC, b"\xff" * 200)
    reason(TOPIC, b"\xff")
    by._charging = Charging(limiter_of(rate=1e6, burst=1000))
    reason(TOPIC, b"\xff{")
    reason(TOPIC, b"{")
    reason(TOPIC, b'{"a":{},"tenant_id":"x"}')
    reason(TOPIC, b'{"a":1,"tenant_id":"x","device_id":"x"}')
    reason(TOPIC, b'{"a":1,"device_id":"x"}')
    bad = b'{"provision_token":"x","site_id":"south","ts":%d,"a":1}' % old
    status = registry.status(KEY, Refusal(Reason.DEVICE_INACTIVE, "deactivated"))
    status.site_id = "north"
    registry.statuses[KEY] = status
    reason(TOPIC, bad)
    status.refusal = None
    reason(TOPIC, bad)
    status.token_hash = sha256(b"x").digest()
    reason(TOPIC, bad)
    status.site_id = "south"
    reason(TOPIC, bad)
    assert seen == [
        Reason.BAD_TOPIC_FORMAT,
        Reason.PAYLOAD_TOO_LARGE,
        Reason.RATE_LIMITED,
        Reason.INVALID_ENCODING,
        Reason.INVALID_JSON,
        Reason.INVALID_METRIC,
        Reason.TENANT_MISMATCH,
        Reason.DEVICE_MISMATCH,
        Reason.DEVICE_INACTIVE,
        Reason.TOKEN_NOT_SET,
        Reason.SITE_MISMATCH,
        Reason.TIMESTAMP_TOO_OLD,
    ]


def test_a_refused_message_of_a_tenant_that_is_not_in_memory_asks_for_the_tenant() -> None:
    registry = Everyone()
    by = admission(registry)
    batch = admit(("tenant/unheard-of/device/d/telemetry", b"{"), by=by)
    assert batch.unknown_tenants == {"unheard-of"}


def test_a_replayed_message_enters_at_check_4_and_keeps_its_time() -> None:
    by = admission(limiter=limiter_of(rate=0.001, burst=1))
    admit((TOPIC, b'{"a":1}'), by=by)
    received_at = NOW - 5 * DAY
    batch = by.revalidate(Message(TOPIC, b'{"a":2}'), received_at)
    assert (batch.readings[0].ts, batch.readings[0].late) == (received_at, True)
    within = b'{"ts":%d,"a":3}' % ((received_at - 29 * DAY) // SECOND)
    assert len(by.revalidate(Message(TOPIC, within), received_at).readings) == 1


def test_a_bug_in_a_check_costs_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    by = admission()
    decode = by._decode

    def broken(payload: bytes, kind: object) -> object:
        if payload == b"boom":
            raise ZeroDivisionError
        return decode(payload, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(by, "_decode", broken)
    batch = admit((TOPIC, b'{"a":1}'), (TOPIC, b"boom"), (TOPIC, b'{"a":2}'), by=by)
    assert [reading.index for reading in batch.readings] == [0, 2]
    assert batch.refused[0].reason is Reason.INTERNAL_ERROR


def test_every_message_gets_exactly_one_verdict() -> None:
    """50,000 random topics and payloads from one printed seed."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    by = admission()
    for _ in range(50):
        messages = [
            (
                "".join(
                    chance.choices(("tenant/", "acme/", "device/", "d-1", "/", "telemetry", "down", "é", "x" * 70), k=6)
                )
                if chance.random() < 0.5
                else TOPIC,
                chance.randbytes(chance.randrange(40))
                if chance.random() < 0.5
                else b'{"ts":%d}' % chance.randrange(2**40),
            )
            for _ in range(1000)
        ]
        batch = admit(*messages, by=by)
        verdicts = sorted([reading.index for reading in batch.readings] + [refused.index for refused in batch.refused])
        assert verdicts == list(range(1000)), f"seed {seed}"


def test_the_memory_of_topics_is_bounded() -> None:
    by = admission()
    for number in range(0, 51_000, 1000):
        admit(*[(f"tenant/acme/device/d{n}/telemetry", b"{") for n in range(number, number + 1000)], by=by)
    assert len(by._routes) <= 50_000


def test_a_long_topic_is_cut_and_told_apart() -> None:
    one, two = shown("x" * 1000 + "a"), shown("x" * 1000 + "b")
    assert one != two
    assert max(len(one), len(two)) <= 256


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
