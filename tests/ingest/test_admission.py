"""The checks over a batch, without a database."""

import random
from hashlib import sha256

import pytest
from mqtt5 import PublishPacket

from appliance.ingest.admission import shown
from appliance.ingest.batch import Reading
from appliance.ingest.charging import Charging
from appliance.reading import HOP_COUNT, Reason, Refusal
from tests.support.admission import KEY, NOW, SECOND, TOPIC, Everyone, admission, admit, only_refusal
from tests.support.limiter import limiter_of
from tests.support.pipeline import Message

DAY = 86_400 * SECOND


def only_index(readings: list[Reading]) -> int:
    assert len(readings) == 1
    return readings[0].index


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
