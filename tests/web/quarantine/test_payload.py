"""The viewer of payloads marks the place that was refused, shows every byte safely, and no secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ingest.envelope import Decoder
from appliance.reading import Kind, Reason, Refusal
from appliance.web.quarantine.payload import WINDOW, Dump, dump, find, masked


def _refused(payload: bytes) -> Refusal:
    verdict = Decoder().decode(payload, Kind.TELEMETRY)
    assert isinstance(verdict, Refusal), "the test is about a payload that is refused"
    return verdict


def _marked(payload: bytes) -> bytes | None:
    """What the viewer marks of a payload that our own decoder has refused."""
    refusal = _refused(payload)
    place = find(payload, refusal.reason, refusal.detail)
    return None if place is None else payload[place.start : place.end]


@pytest.mark.parametrize(
    ("payload", "marked"),
    [
        (b'{"t": 21.5,}', b","),
        (b'{"t": 21.5', b""),  # something is missing at the end
        (b'{"t": 1}x', b"x"),
        (b"nonsense", b"e"),
        (b'{"t": \xff1}', b"\xff"),
        ('{"grün": 1}'.encode("latin-1"), b"\xfc"),
        ('{"ü": 1}'.encode(), '"ü"'.encode()),
        (b'{"a": 1, "t": [1, 2]}', b"[1, 2]"),
        (b'{"a": {"t": 1}, "metrics": {"x": {"y": 2}}}', b'{"y": 2}'),
        (b'{"t": 1, "ts": "yesterday"}', b'"yesterday"'),
        (b'{"t": 1, "seq": -1}', b"-1"),
        (b'{"9lives": 1}', b'"9lives"'),
        (b'{"' + b"n" * 80 + b'": 1}', b'"' + b"n" * 80 + b'"'),
        (b'{"t": 1, "site_id": 7}', b"7"),
        (b'{"t": 1, "lat": [91], "lng": 0}', b"[91]"),
        (b'{"v": 1e999}', b"1e999"),
        (b'{"n": 9223372036854775808}', b"9223372036854775808"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", b"["),
        (b"[1, 2]", None),
        (b"", None),
    ],
)
def test_the_place_that_was_refused_is_marked(payload: bytes, marked: bytes | None) -> None:
    assert _marked(payload) == marked


def test_of_equal_keys_the_last_is_marked_since_it_is_the_one_that_counts() -> None:
    payload = b'{"t": 1, "t": [3]}'
    refusal = _refused(payload)
    place = find(payload, refusal.reason, refusal.detail)
    assert place is not None
    assert place.start == payload.rindex(b"[3]")


def test_positions_are_bytes_also_behind_letters_of_several() -> None:
    payload = '{"ä€😀": 1, "t": [5]}'.encode()
    refusal = Refusal(Reason.INVALID_METRIC, "`t` is a list; a metric is a number, a boolean or text")
    place = find(payload, refusal.reason, refusal.detail)
    assert place is not None
    assert payload[place.start : place.end] == b"[5]"


def test_a_bracket_within_text_nests_nothing() -> None:
    payload = b'{"text": "' + b"[" * 40 + b'\\"", "a":' + b"[" * 40 + b"]" * 40 + b"}"
    refusal = _refused(payload)
    place = find(payload, refusal.reason, refusal.detail)
    assert place is not None
    assert place.start == payload.index(b'"a":') + 4 + 31


def _characters(shown: Dump) -> str:
    return "".join(run.text for line in shown.lines for run in line.characters)


def _digits(shown: Dump) -> bytes:
    return bytes.fromhex(" ".join(run.text for line in shown.lines for run in line.digits))


def test_lines_have_sixteen_bytes_with_their_offset() -> None:
    shown = dump(bytes(range(40)), Reason.INVALID_JSON, "invalid character at byte 17")
    assert [line.offset for line in shown.lines] == [0, 16, 32]
    assert _digits(shown) == bytes(range(40))
    assert [[run.marked for run in line.digits] for line in shown.lines] == [[False], [False, True, False], [False]]
    assert shown.whole


def test_nothing_that_cannot_be_seen_reaches_the_page() -> None:
    shown = dump("{\x1b[31m\u202eevil\u2066\x00\n}".encode(), Reason.INVALID_JSON, "x")
    assert shown.text is not None
    text = "".join(run.text for run in shown.text)
    assert text == "{\u241b[31m\\u202eevil\\u2066\u2400\n}"
    assert all(character.isprintable() for character in _characters(shown))


def test_of_a_long_payload_the_part_around_the_place_is_shown() -> None:
    payload = b'{"a": "' + b"x" * 100_000 + b'", "t": [1], "b": "' + b"y" * 100_000 + b'"}'
    shown = dump(payload, Reason.INVALID_METRIC, "`t` is a list; a metric is a number, a boolean or text")
    assert shown.place is not None
    assert shown.first <= shown.place.start < shown.place.end <= shown.last
    assert shown.last - shown.first <= 2 * WINDOW + 32
    assert (shown.length, shown.whole) == (len(payload), False)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"provision_token": "s3cr3t-t0ken", "t": [1]}',
        b'{"provision_token"  :\n"s3cr3t-t0ken',
        b'{"a": {"provision_token":"s3cr3t-t0ken"}}',
        b'\xff{"provision_token":"s3cr3t-t0ken"}',
        rb'{"provision_token":"s3cr3t\"-t0ken"}',
        b"{'provision_token': 's3cr3t-t0ken'}",
        b"{provision_token: s3cr3t-t0ken}",
        b"provision_token=s3cr3t-t0ken,temperature=1",
    ],
)
def test_a_token_is_blackened_in_bytes_and_in_text(payload: bytes) -> None:
    assert b"t0ken" not in masked(payload)
    assert len(masked(payload)) == len(payload)
    shown = dump(payload, Reason.TOKEN_INVALID, "`provision_token` is not the device's token")
    assert b"t0ken" not in _digits(shown)
    assert "t0ken" not in _characters(shown)


@given(st.binary(max_size=3000), st.text(max_size=80), st.sampled_from(Reason))
def test_no_payload_and_no_detail_is_too_strange_to_be_shown(payload: bytes, detail: str, reason: Reason) -> None:
    for text in (detail, f"`{detail}` is a list", f"x at byte {len(detail) * 50}"):
        shown = dump(payload, reason, text)
        assert _digits(shown) == masked(payload)[shown.first : shown.last]
        place = shown.place
        assert place is None or 0 <= place.start <= place.end <= len(payload)
