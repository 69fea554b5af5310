"""The sites that messages name: every text has an id that pages and addresses can hold, and keeps its name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.devices.device import IDENTIFIER
from appliance.devices.site_ids import mentioned_site


@pytest.mark.parametrize("text", ["barn", "hall-1", "A.b_c", "9"])
def test_a_valid_id_is_the_id_and_no_name(text: str) -> None:
    assert mentioned_site(text) == (text, None)


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("Halle 1", "Halle-1"),
        ("café", "cafe"),
        ("Werk/Nord", "Werk-Nord"),
        ("..", "site"),
        (".hidden", "hidden"),
        ("北京", "site"),
        ("Über  allem", "Uber-allem"),
        ("a" * 100, "a" * 57),
    ],
)
def test_another_text_is_the_name_and_an_id_is_made_from_it(text: str, readable: str) -> None:
    site_id, name = mentioned_site(text)
    assert site_id.rpartition("-")[0] == readable
    assert name == text


def test_texts_that_look_alike_are_two_sites() -> None:
    assert mentioned_site("Halle 1") != mentioned_site("Halle/1")
    assert mentioned_site("Halle 1").site_id != "Halle-1"


def test_a_name_holds_no_control_characters() -> None:
    assert mentioned_site("Halle\t1\n").name == "Halle 1"
    assert mentioned_site("\x07").name is None


@given(st.text(min_size=1, max_size=64).filter(lambda text: "\0" not in text))
def test_every_text_makes_a_valid_id_and_always_the_same(text: str) -> None:
    site_id, _ = mentioned_site(text)
    assert IDENTIFIER.fullmatch(site_id)
    assert mentioned_site.__wrapped__(text).site_id == site_id
    assert mentioned_site(site_id).site_id == site_id
