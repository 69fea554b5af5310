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
    (b'{"ts":"2024-01-01T00:00:00.Z"}', Reason.INVALID_TIMESTAMP),
    (b'{"ts":"2024-01-01T00:00:00.123456789"}', Reason.INVALID_TIMESTAMP),
    ('{"ts":"2024-01-01T00:00:00.123456\u00b2Z"}'.encode(), Reason.INVALID_TIMESTAMP),
    (b'{"ts":"%b"}' % (b"[" * 16_000), Reason.INVALID_TIMESTAMP),
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
    (b'{"lat":{"deg":52},"lng":0}', Reason.INVALID_METRIC),
    (b'{"lat":[52],"metrics":{"a":1}}', Reason.INVALID_METRIC),
    (b'{"lat":9223372036854775808,"lng":0}', Reason.INVALID_PAYLOAD),
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
    (b'{"metrics":{"lat":60.4,"lng":5.3}}', {"lat": 60.4, "lng": 5.3}),
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
        (b"1704067200.123456", DAY_2024 + 123_456),
        (b"1704067200123.456", DAY_2024 + 123_456),
        (b"1704067200.1234568", DAY_2024 + 123_456),
    ],
)
def test_times_are_read_in_microseconds(ts: bytes, microseconds: int) -> None:
    assert envelope(b'{"ts":%b}' % ts).ts == microseconds


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2024-01-01T00:00:00.123456789Z", 123_456),  # Go, time.RFC3339Nano; Java, Instant
        ("2024-01-01T01:00:00.999999999+01:00", 999_999),  # Go; Rust, chrono's to_rfc3339
        ("2024-01-01T00:00:00.1234567Z", 123_456),  # .NET, "o" of UTC
        ("2024-01-01T01:00:00.1234567+01:00", 123_456),  # .NET, "o" of a DateTimeOffset
        ("2024-01-01T00:00:00.123Z", 123_000),  # JavaScript, toISOString
        ("2024-01-01T00:00:00.123456+00:00", 123_456),  # Python, isoformat
        ("2024-01-01 00:00:00.123456+00:00", 123_456),  # Python, str of a datetime; RFC 3339, 5.6, allows the blank
        ("2024-01-01T00:00:00Z", 0),  # C, strftime
        ("2024-01-01T01:00:00+0100", 0),  # C, %z of strftime
        ("2024-01-01t00:00:00.1234567z", 123_456),  # RFC 3339, 5.6: T and Z may be lower case
        ("2024-01-01T00:00:00-00:00", 0),  # RFC 3339, 4.3
        ("2024-01-01T00:00:00." + "9" * 100 + "Z", 999_999),
    ],
)
def test_times_are_taken_as_common_programs_write_them_and_cut_to_the_microsecond(text: str, microseconds: int) -> None:
    assert envelope(json.dumps({"ts": text}).encode()).ts == DAY_2024 + microseconds


@given(
    st.integers(min_value=1_577_836_800_000_000, max_value=4_102_444_800_000_000),
    st.text("0123456789", max_size=12),
    st.sampled_from(("Z", "z", "+00:00", "-00:00")),
)
def test_further_digits_of_a_second_change_nothing(microseconds: int, digits: str, offset: str) -> None:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06}{digits}{offset}"
    assert envelope(json.dumps({"ts": text}).encode()).ts == microseconds


@given(st.integers(min_value=1_577_836_800_000_000, max_value=4_102_444_800_000_000))
def test_numbers_with_a_fraction_are_exact_to_the_microsecond(microseconds: int) -> None:
    assert envelope(b'{"ts":%d.%06d}' % divmod(microseconds, 1_000_000)).ts == microseconds
    assert envelope(b'{"ts":%d.%03d}' % divmod(microseconds, 1_000)).ts == microseconds


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("1704067200", "without quotes"),
        ("1704067200.5", "without quotes"),
        ("2024-01-01", "no time of day"),
        ("2024-01-01T00:00Z", "no seconds"),
        ("2024-01-01T00:00:60Z", ":59"),
        ("2024-01-01T00:00:00", "end it with Z"),
        ("2024-01-01T00:00:00.123456789", "end it with Z"),
        ("2024-01-01T00:00:00+01", "minutes of the offset"),
        ("2024-01-01 00:00:00 UTC", "write Z"),
        ("2024-01-01 00:00:00,123+00:00", "with a point"),
        ("2024-01-01T00:00:00+01:00[Europe/Paris]", "brackets"),
        ("20240101T000000Z", "with - and :"),
        ("2024-W01-1T00:00:00Z", "such as 2026-01-31T12:00:00Z"),
    ],
)
def test_a_time_that_is_refused_names_the_mend(text: str, mend: str) -> None:
    verdict = refusal(json.dumps({"ts": text}).encode())
    assert (verdict.reason, mend in verdict.detail) == (Reason.INVALID_TIMESTAMP, True), verdict.detail


@given(st.integers(min_value=946_684_800_000_000, max_value=4_102_444_800_000_000))
def test_every_rfc_3339_time_is_exact_to_the_microsecond(microseconds: int) -> None:
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()
    assert envelope(json.dumps({"ts": text}).encode()).ts == microseconds


def test_a_heartbeat_may_be_empty_and_telemetry_may_not() -> None:
    assert envelope(b"", Kind.HEARTBEAT).metrics == {}
    assert refusal(b"", Kind.TELEMETRY).reason is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"offline", "offline"),
        (b"online\n", "online"),
        (b" Online ", "online"),
        (b"OFFLINE", "offline"),
        (b"true", "online"),
        (b"False", "offline"),
        (b'"Online"', "online"),
        (b'{"state": "online"}', "online"),
        (b'{"state":"Offline","rssi":-60,"ts":"2020-01-01T00:00:00Z"}', "offline"),
        (b'{"state":false}', "offline"),
    ],
)
def test_a_status_is_understood_in_the_forms_that_devices_send(body: bytes, status: str) -> None:
    decoded = envelope(body, Kind.STATUS)
    assert (decoded.metrics, json.loads(decoded.encoded), decoded.ts) == ({"status": status}, {"status": status}, None)
    assert not decoded.plain


@pytest.mark.parametrize("body", [b"", b"away", b"1", b"null", b"{}", b"[]", b'{"state":1}', b'{"state":"up"}'])
def test_a_status_that_says_neither_is_refused_with_what_is_understood(body: bytes) -> None:
    verdict = refusal(body, Kind.STATUS)
    assert verdict.reason is Reason.INVALID_PAYLOAD
    assert all(form in verdict.detail for form in ("`online`", "`false`", '{"state": "online"}'))


def test_a_status_that_cannot_be_decoded_is_counted_as_such() -> None:
    assert refusal(b"\xff", Kind.STATUS).reason is Reason.INVALID_ENCODING
    assert refusal(b'{"state":', Kind.STATUS).reason is Reason.INVALID_JSON
    assert refusal(nested(MAX_DEPTH + 1), Kind.STATUS).reason is Reason.INVALID_JSON


def test_a_status_may_carry_a_token_and_ids() -> None:
    decoded = envelope(b'{"state":"online","provision_token":"t","device_id":"d"}', Kind.STATUS)
    assert (decoded.token, decoded.device_id) == ("t", "d")
    assert refusal(b'{"state":"online","site_id":7}', Kind.STATUS).reason is Reason.INVALID_PAYLOAD


def test_a_json_error_names_the_byte() -> None:
    assert refusal(b'{"a":1}x').detail.endswith("at byte 7")
    assert refusal(b'{"a":').detail.endswith("at byte 5")


@pytest.mark.parametrize(
    ("payload", "mend"),
    [
        (b'{"a":nan}', "`nan` at byte 5: JSON has no such value; leave the metric out, or send null"),
        (b'{"a":1,"b":-inf,"c":2}', "`-inf` at byte 11: JSON has no such value; leave the metric out, or send null"),
        (b'{"a":NaN}', "`NaN` at byte 5: JSON has no such value; leave the metric out, or send null"),
        (b'{"a":True}', "`True` at byte 5: JSON has no such value; write true"),
        (b"{'a':1}", "a single quote at byte 1: names and text stand in double quotes"),
        (b'{"a":1}\0', "a NUL byte at byte 7: send one byte less, a C string without its end"),
        (b"\xef\xbb\xbf{}", "a byte order mark at byte 0: send the payload without it"),
        ('{"a":1}'.encode("utf-16-le"), "a NUL byte at byte 1: send the payload as UTF-8, not as UTF-16"),
    ],
)
def test_the_usual_mistakes_in_json_are_named_with_the_mend(payload: bytes, mend: str) -> None:
    assert refusal(payload) == Refusal(Reason.INVALID_JSON, mend)


POSITIONS: list[tuple[bytes, tuple[float, float] | None, dict[str, Any], int]] = [
    (b'{"latitude":60.4,"longitude":5,"a":1}', (60.4, 5.0), {"a": 1}, 0),
    (b'{"lat":60.4,"lon":5}', (60.4, 5.0), {}, 0),
    (b'{"lat":-90,"long":180}', (-90.0, 180.0), {}, 0),
    (b'{"lat":60.4,"lng":5,"metrics":{"a":1}}', (60.4, 5.0), {"a": 1}, 0),
    (b'{"lat":52.52,"batt":86}', None, {"lat": 52.52, "batt": 86}, 1),
    (b'{"lon":13.4,"batt":86}', None, {"lon": 13.4, "batt": 86}, 1),
    (b'{"lat":52.52,"lng":null}', None, {"lat": 52.52}, 1),
    (b'{"lat":91,"lng":0}', None, {"lat": 91, "lng": 0}, 1),
    (b'{"latitude":0,"longitude":-180.5}', None, {"latitude": 0, "longitude": -180.5}, 1),
    (b'{"lat":"52.52","lng":13.4}', None, {"lat": "52.52", "lng": 13.4}, 1),
    (b'{"lat":true,"lng":13.4}', None, {"lat": True, "lng": 13.4}, 1),
    (b'{"lat":52.52,"metrics":{"batt":86}}', None, {"lat": 52.52, "batt": 86}, 1),
    (b'{"lat":52.52,"metrics":{"lat":1}}', None, {"lat": 1}, 1),
    (b'{"lat":[52],"metrics":{"lat":1}}', None, {"lat": 1}, 1),
    (b'{"lat":null,"lng":null,"a":1}', None, {"a": 1}, 0),  # a receiver without a fix: nulls like any other
    (b'{"lat":52,"latitude":53,"lon":13}', (52.0, 13.0), {"latitude": 53}, 0),
    (b'{"lat":null,"latitude":53,"lng":999,"lon":13}', (53.0, 13.0), {"lng": 999}, 0),
]


@pytest.mark.parametrize(("payload", "position", "metrics", "unplaced"), POSITIONS, ids=lambda value: repr(value)[:40])
def test_a_position_is_a_possible_pair_and_all_else_stays_a_metric(
    payload: bytes, position: tuple[float, float] | None, metrics: dict[str, Any], unplaced: int
) -> None:
    decoded = envelope(payload)
    assert (decoded.lat, decoded.lng) == (position or (None, None))
    assert (decoded.metrics, json.loads(decoded.encoded), decoded.unplaced) == (metrics, metrics, unplaced)


@given(
    st.dictionaries(
        st.sampled_from(("lat", "latitude", "lng", "lon", "long", "longitude", "a")),
        st.one_of(st.none(), st.booleans(), st.integers(-400, 400), st.floats(-400, 400), st.text("5.", max_size=4)),
    )
)
def test_no_part_of_a_position_vanishes(data: dict[str, Any]) -> None:
    decoded = envelope(json.dumps(data).encode())
    missing = {name: value for name, value in data.items() if name not in decoded.metrics and value is not None}
    assert list(missing.values()) in ([], [decoded.lat, decoded.lng], [decoded.lng, decoded.lat])


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
