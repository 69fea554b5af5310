"""Bodies taken apart: each message keeps its own bytes."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from appliance.ingest.hops import circling
from appliance.ingest.http import Form, HttpMessage, split
from appliance.reading import HOP_COUNT, Reason
from appliance.web.ingest.api import STATUSES

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_one_object_is_one_message_as_it_was_sent() -> None:
    body = split(b' {"a" : 1.50}\n', Form.JSON)
    assert (body.payloads, body.many) == ([b' {"a" : 1.50}\n'], False)


def test_the_elements_of_an_array_keep_their_own_bytes() -> None:
    body = split(b'[ {"a" : 1.50},{"b":[1, 2]} , 7 ]', Form.JSON)
    assert (body.payloads, body.many) == ([b'{"a" : 1.50}', b'{"b":[1, 2]}', b"7"], True)


@given(st.lists(_VALUES, min_size=1, max_size=5))
def test_every_array_is_taken_apart_into_what_was_put_together(values: list[object]) -> None:
    body = split(json.dumps(values).encode(), Form.JSON)
    assert body.many
    assert [json.loads(payload) for payload in body.payloads] == values


def test_lines_are_messages_and_empty_lines_are_not() -> None:
    body = split(b'{"a":1}\r\n\n{"a":\n  \n', Form.NDJSON)
    assert (body.payloads, body.many) == ([b'{"a":1}\r', b'{"a":'], True)


def test_a_broken_array_is_left_to_the_checks_whole() -> None:
    for broken in (b"[1,", b"[{]", b"[" * 5000, b'["a" "b"]'):
        assert split(broken, Form.JSON).payloads == [broken]


@given(st.binary(max_size=200), st.sampled_from(Form))
def test_no_body_raises_and_nothing_is_lost(data: bytes, form: Form) -> None:
    body = split(data, form)
    assert all(payload in data for payload in body.payloads)


def test_every_reason_has_a_status() -> None:
    assert STATUSES.keys() == set(Reason)
    assert all(status.value // 100 == 4 for reason, status in STATUSES.items() if reason is not Reason.INTERNAL_ERROR)


def test_a_circle_ends_over_http_too() -> None:
    """The header says what the user property says over MQTT."""
    for hop_count, taken in (("3", True), ("4", False), ("x", True)):
        message = HttpMessage("tenant/acme/device/d/telemetry", b"{}", ((HOP_COUNT, hop_count),))
        assert (circling(message.user_properties) is None) is taken


def test_bytes_are_copied_out_of_the_decoder() -> None:
    """A ``msgspec.Raw`` would keep the whole body alive for as long as one of its messages is in hand."""
    assert not any(isinstance(payload, msgspec.Raw) for payload in split(b'[{"a":1}]', Form.JSON).payloads)
