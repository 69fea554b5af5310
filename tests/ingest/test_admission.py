"""The checks over a batch, without a database."""

import random
from dataclasses import dataclass
from hashlib import blake2b

import pytest

from appliance.config import Ingest, Retention
from appliance.devices.state import DeviceState, StateBook
from appliance.ingest.admission import Admission, shown
from appliance.ingest.batch import Batch
from appliance.reading import Reason

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
TOPIC = "tenant/acme/device/d-1/telemetry"


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes


class Everyone(StateBook):
    """A book in which each device already has a page."""

    def get(self, key: tuple[str, str]) -> DeviceState | None:
        return self._states.setdefault(key, DeviceState(*key))


def admission(states: StateBook | None = None) -> Admission:
    return Admission(Ingest(), Retention(), Everyone(100) if states is None else states)


def admit(*messages: tuple[str, bytes], by: Admission | None = None, at: int = NOW) -> Batch:
    return (by or admission()).admit([Message(*message) for message in messages], at)


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


def test_ids_in_the_payload_must_be_the_topics() -> None:
    assert only_refusal(admit((TOPIC, b'{"tenant_id":"other"}'))) is Reason.TENANT_MISMATCH
    assert only_refusal(admit((TOPIC, b'{"device_id":"other"}'))) is Reason.DEVICE_MISMATCH
    assert admit((TOPIC, b'{"tenant_id":"acme","device_id":"d-1","a":1}')).readings[0].metrics == {"a": 1}


def test_a_missing_time_is_the_time_of_receipt_and_not_flagged() -> None:
    reading = admit((TOPIC, b'{"a":1}')).readings[0]
    assert (reading.ts, reading.adjusted, reading.late) == (NOW, False, False)


@pytest.mark.parametrize("ts", [b"0", b"-5", b"1e300", b"-1e300", b"9223372036854775807", b"1577836799.999"])
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


def test_an_older_reading_is_late_and_moves_nothing() -> None:
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
    states = StateBook(10)
    by = admission(states)
    batch = admit((TOPIC, b'{"a":1}'), (TOPIC, b"{"), (TOPIC, b'{"a":2}'), by=by)
    assert [candidate.index for candidate in batch.waiting] == [0, 2]
    assert [refused.index for refused in batch.refused] == [1]
    states._states["acme", "d-1"] = DeviceState("acme", "d-1")
    by.resume(batch)
    assert ([reading.index for reading in batch.readings], batch.waiting) == ([0, 2], [])


def test_a_bug_in_a_check_costs_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    by = admission()
    decode = by._decoder.decode

    def broken(payload: bytes, kind: object) -> object:
        if payload == b"boom":
            raise ZeroDivisionError
        return decode(payload, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(by._decoder, "decode", broken)
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
    for number in range(0, 120_000, 1000):
        admit(*[(f"tenant/acme/device/d{n}/telemetry", b"{") for n in range(number, number + 1000)], by=by)
    assert len(by._routes) <= 50_000


def test_a_long_topic_is_cut_and_told_apart() -> None:
    one, two = shown("x" * 1000 + "a"), shown("x" * 1000 + "b")
    assert one != two
    assert max(len(one), len(two)) <= 256
