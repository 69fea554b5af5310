"""Payloads in, envelopes or refusals out: checks 4 to 6."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ingest.envelope import MAX_DEPTH, Decoder, Envelope
from appliance.reading import Kind, Reason, Refusal

DAY_2024 = 1_704_067_200_000_000


def envelope(payload: bytes, kind: Kind = Kind.TELEMETRY) -> Envelope:
    decoded = Decoder().decode(payload, kind)
    assert isinstance(decoded, Envelope), decoded
    return decoded


def refusal(payload: bytes, kind: Kind = Kind.TELEMETRY) -> Refusal:
    decoded = Decoder().decode(payload, kind)
    assert isinstance(decoded, Refusal), decoded
    return decoded


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b',"metrics":{}}'


REFUSED = [
    (b"", Reason.INVALID_PAYLOAD),
    (b"  \n", Reason.INVALID_PAYLOAD),
    (b"null", Reason.INVALID_PAYLOAD),
    (b"1", Reason.INVALID_PAYLOAD),
    (b'"x"', Reason.INVALID_PAYLOAD),
    (b"[]", Reason.INVALID_PAYLOAD),
    (b"true", Reason.INVALID_PAYLOAD),
    (b'{"a":NaN}', Reason.INVALID_JSON),
    (b'{"a":Infinity}', Reason.INVALID_JSON),
    (b'{"a":-Infinity}', Reason.INVALID_JSON),
    (b'{"a":1e400}', Reason.INVALID_METRIC),
    (b'{"a":-1e400}', Reason.INVALID_METRIC),
    (b'{"v":1e131071}', Reason.INVALID_METRIC),
    (b'{"a":9223372036854775808}', Reason.INVALID_PAYLOAD),
    (b'{"a":-9223372036854775809}', Reason.INVALID_PAYLOAD),
    (b'{"a":123456789012345678901234567890}', Reason.INVALID_PAYLOAD),
    (b'{"a":"b\\u0000c"}', Reason.INVALID_METRIC),
    (b'{"b\\u0000c":1}', Reason.INVALID_METRIC),
    (b'{"a":"\\ud800"}', Reason.INVALID_JSON),
    (b'{"a":"\\udc00"}', Reason.INVALID_JSON),
    (b'{"a":"\\udc00\\ud800"}', Reason.INVALID_JSON),
    (b'{"\\ud800":1}', Reason.INVALID_JSON),
    (b'{"a":"\xe9"}', Reason.INVALID_ENCODING),
    (b'{"a":"\xc0\x80"}', Reason.INVALID_ENCODING),
    (b'{"a":"\xed\xa0\x80"}', Reason.INVALID_ENCODING),
    (b'{"a":"\xe2\x82', Reason.INVALID_ENCODING),
    (b'{"metrics":{},"ignored":"\xe9"}', Reason.INVALID_ENCODING),
    (b'{"a":1}x', Reason.INVALID_JSON),
    (b'{"a":1}{"a":1}', Reason.INVALID_JSON),
    (b'{"a":1}\n{"a":1}', Reason.INVALID_JSON),
    (b'{"a":1/*x*/}', Reason.INVALID_JSON),
    (b'{"a":1,}', Reason.INVALID_JSON),
    (b"{'a':1}", Reason.INVALID_JSON),
    (b'{"a":0x1}', Reason.INVALID_JSON),
    (b'{"a":01}', Reason.INVALID_JSON),
    (b'{"a":+1}', Reason.INVALID_JSON),
    (b'{"a":.5}', Reason.INVALID_JSON),
    (b'{"a":1.}', Reason.INVALID_JSON),
    (b'{"a"}', Reason.INVALID_JSON),
    (b'{"a":1', Reason.INVALID_JSON),
    (b"\xef\xbb\xbf{}", Reason.INVALID_JSON),
    (b'{"a":"\x01"}', Reason.INVALID_JSON),
    (b"[" * 100_000, Reason.INVALID_JSON),
    (nested(MAX_DEPTH + 1), Reason.INVALID_JSON),
    (b"[" * 33 + b"]" * 33, Reason.INVALID_JSON),
    (b'{"a":{}}', Reason.INVALID_METRIC),
    (b'{"a":[1]}', Reason.INVALID_METRIC),
    (b'{"metrics":[]}', Reason.INVALID_METRIC),
    (b'{"metrics":"x"}', Reason.INVALID_METRIC),
    (b'{"metrics":null}', Reason.INVALID_METRIC),
    (b'{"metrics":{"a":{}}}', Reason.INVALID_METRIC),
    (b'{"":1}', Reason.INVALID_METRIC),
    (b'{"1a":1}', Reason.INVALID_METRIC),
    (b'{"a b":1}', Reason.INVALID_METRIC),
    (b'{"caf\xc3\xa9":1}', Reason.INVALID_METRIC),
    (b'{"%b":1}' % (b"a" * 65), Reason.INVALID_METRIC),
    (b'{"a":"%b"}' % (b"x" * 257), Reason.INVALID_METRIC),
    (json.dumps({f"m{n}": n for n in range(65)}).encode(), Reason.TOO_MANY_METRICS),
    (b'{"ts":"2024-02-30T00:00:00Z"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"2024-01-01T24:00:00Z"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"2024-01-01T00:00:60Z"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"2024-01-01T00:00:00"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"2024-01-01T00:00:00+25:00"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"2024-01-01T00:00:00.123456789Z"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"2024-W01-1T00:00:00Z"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"yesterday"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":""}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":true}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":{}}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":99999999999999999999}', Reason.INVALID_TIMESTAMP),
    (b'{"seq":-1}', Reason.INVALID_PAYLOAD),
    (b'{"seq":1.5}', Reason.INVALID_PAYLOAD),
    (b'{"seq":true}', Reason.INVALID_PAYLOAD),
    (b'{"seq":9223372036854775808}', Reason.INVALID_PAYLOAD),
    (b'{"site_id":7}', Reason.INVALID_PAYLOAD),
    (b'{"site_id":""}', Reason.INVALID_PAYLOAD),
    (b'{"site_id":"a\\u0000"}', Reason.INVALID_PAYLOAD),
    (b'{"tenant_id":[]}', Reason.INVALID_PAYLOAD),
    (b'{"device_id":1}', Reason.INVALID_PAYLOAD),
    (b'{"provision_token":{}}', Reason.INVALID_PAYLOAD),
    (b'{"lat":91,"lng":0}', Reason.INVALID_METRIC),
    (b'{"lat":"x","lng":0}', Reason.INVALID_METRIC),
    (b'{"latitude":0,"longitude":-180.5}', Reason.INVALID_METRIC),
]


@pytest.mark.parametrize(("payload", "reason"), REFUSED, ids=lambda value: repr(value)[:40])
def test_bad_payloads_are_refused_with_their_reason(payload: bytes, reason: Reason) -> None:
    verdict = refusal(payload)
    assert verdict.reason is reason
    assert verdict.detail


ACCEPTED: list[tuple[bytes, dict[str, Any]]] = [
    (b'{"temperature": 25}', {"temperature": 25}),
    (b'{"metrics":{"temperature": 25},"ignored":{"deep":[1]}}', {"temperature": 25}),
    (b"{}", {}),
    (b'{"a":9007199254740993}', {"a": 9007199254740993}),
    (b'{"a":9223372036854775807,"b":-9223372036854775808}', {"a": 2**63 - 1, "b": -(2**63)}),
    (b'{"a":1e-400}', {"a": 0.0}),
    (b'{"a":1,"a":2}', {"a": 2}),
    (b'{"a":true,"b":"on","c":1.5}', {"a": True, "b": "on", "c": 1.5}),
    (b'{"__proto__":1,"constructor":2}', {"__proto__": 1, "constructor": 2}),
    (b'{"a":"<script>{{7*7}}${x}=cmd()"}', {"a": "<script>{{7*7}}${x}=cmd()"}),
    (b'{"ts":1704067200,"seq":7,"a":1}', {"a": 1}),
    (b'{"site_id":"north","lat":60.4,"lng":5.3,"a":1}', {"a": 1}),
    (b'{"metrics":{"site_id":"a metric of that name"}}', {"site_id": "a metric of that name"}),
    (b'{"ts":null,"seq":null,"site_id":null,"lat":null,"a":1}', {"a": 1}),
    (nested(MAX_DEPTH), {}),
    (b'{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}', {"a": "[" * 40}),
]


@pytest.mark.parametrize(("payload", "metrics"), ACCEPTED, ids=lambda value: repr(value)[:40])
def test_good_payloads_keep_their_metrics(payload: bytes, metrics: dict[str, Any]) -> None:
    decoded = envelope(payload)
    assert decoded.metrics == metrics
    assert json.loads(decoded.encoded) == metrics


def test_integers_stay_integers() -> None:
    assert envelope(b'{"a":9007199254740993}').encoded == b'{"a":9007199254740993}'


def test_a_null_metric_is_left_out_and_counted() -> None:
    decoded = envelope(b'{"temperature":21.5,"humidity":null,"battery":null}')
    assert (decoded.metrics, decoded.nulls) == ({"temperature": 21.5}, 2)
    assert decoded.encoded == b'{"temperature":21.5}'


@pytest.mark.parametrize(
    ("ts", "microseconds"),
    [
        (b"1704067200", DAY_2024),
        (b"1704067200.25", DAY_2024 + 250_000),
        (b"1704067200123", DAY_2024 + 123_000),
        (b"100000000000", 100_000_000_000 * 1_000_000),
        (b"100000000001", 100_000_000_001 * 1_000),
        (b"0", 0),
        (b"-5", -5_000_000),
        (b'"2024-01-01T00:00:00Z"', DAY_2024),
        (b'"2024-01-01T01:00:00+01:00"', DAY_2024),
        (b'"2024-01-01T00:00:00.123456Z"', DAY_2024 + 123_456),
        (b'"2038-06-30T23:59:59.999999Z"', 2_161_555_199_999_999),
    ],
)
def test_times_are_read_in_microseconds(ts: bytes, microseconds: int) -> None:
    assert envelope(b'{"ts":%b}' % ts).ts == microseconds


@given(st.integers(min_value=946_684_800_000_000, max_value=4_102_444_800_000_000))
def test_every_rfc_3339_time_is_exact_to_the_microsecond(microseconds: int) -> None:
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()
    assert envelope(json.dumps({"ts": text}).encode()).ts == microseconds


def test_a_heartbeat_may_be_empty_and_telemetry_may_not() -> None:
    assert envelope(b"", Kind.HEARTBEAT).metrics == {}
    assert refusal(b"", Kind.TELEMETRY).reason is Reason.INVALID_PAYLOAD


def test_a_status_is_one_of_two_words() -> None:
    assert envelope(b"offline", Kind.STATUS).metrics == {"status": "offline"}
    assert envelope(b"online\n", Kind.STATUS).encoded == b'{"status":"online"}'
    assert refusal(b"away", Kind.STATUS).reason is Reason.INVALID_PAYLOAD
    assert refusal(b"\xff", Kind.STATUS).reason is Reason.INVALID_ENCODING


def test_a_json_error_names_the_byte() -> None:
    assert refusal(b'{"a":1}x').detail.endswith("at byte 7")
    assert refusal(b'{"a":').detail.endswith("at byte 5")


def test_a_position_needs_both_numbers() -> None:
    assert envelope(b'{"lat":60.4,"a":1}').lat is None
    both = envelope(b'{"latitude":60.4,"longitude":5,"a":1}')
    assert (both.lat, both.lng) == (60.4, 5.0)


def test_the_memory_of_metric_names_is_bounded() -> None:
    decoder = Decoder()
    for number in range(20_000):
        decoder.decode(b'{"m%d":1}' % number, Kind.TELEMETRY)
    assert len(decoder._known_names) <= 4096


def test_no_payload_raises() -> None:
    """50,000 mutations of good and bad payloads, from one printed seed."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    decoder = Decoder()
    pool = [payload for payload, _ in REFUSED + ACCEPTED if len(payload) < 2000]
    for _ in range(50_000):
        data = bytearray(chance.choice(pool))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randrange(3)] = chance.choice(
                (
                    bytes([chance.randrange(256)]),
                    b"{",
                    b"[",
                    b'"',
                    b"\\u",
                    b"1e",
                    b"null",
                    b":",
                    chance.choice(pool)[:8],
                )
            )
        for kind in Kind:
            verdict = decoder.decode(bytes(data), kind)
            assert isinstance(verdict, Envelope | Refusal), f"seed {seed}"
