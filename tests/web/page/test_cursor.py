"""Cursors: read back as they were written, and nothing else is one."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.devices.fleet import FleetPosition
from appliance.errors import Invalid
from appliance.web.page import cursor


@given(st.text().filter(lambda text: "\0" not in text), st.booleans())
def test_a_place_comes_back_as_it_was(key: str, waiting: bool) -> None:
    try:
        key.encode()
    except UnicodeEncodeError:
        return
    place = FleetPosition(waiting, key, "acme", "d")
    assert cursor.read(cursor.write(place), FleetPosition) == place


def test_nothing_is_no_place() -> None:
    assert cursor.write(None) is None
    assert cursor.read(None, FleetPosition) is None
    assert cursor.read("", FleetPosition) is None


def made_of(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "æ",
        "=",
        "A" * 1000,
        made_of({}),
        made_of([1, 2]),
        made_of({"waiting": 1, "key": "k", "tenant_id": "t", "device_id": "d"}),
        made_of({"waiting": True, "key": "a\0", "tenant_id": "t", "device_id": "d"}),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        cursor.read(text, FleetPosition)
    assert refused.value.field == "cursor"


@given(st.text())
def test_no_text_is_a_surprise(text: str) -> None:
    with contextlib.suppress(Invalid):
        cursor.read(text, FleetPosition)
