"""Claims about topic names and filters."""

import pytest

from appliance.mqtt.topics import filter_matches, filter_mistake, name_mistake


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("+/#", "a", True),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$share/group/a/+", "a/b", True),
        ("$share/group/#", "$SYS/uptime", False),
    ],
)
def test_filters_match_as_in_the_specification(topic_filter: str, topic: str, matches: bool) -> None:
    assert filter_mistake(topic_filter) is None
    assert filter_matches(topic_filter, topic) is matches


@pytest.mark.parametrize(
    "topic_filter",
    ["", "a/#/b", "a#", "#a", "a+/b", "a/b+", "a\0b", "$share/g", "$share//a", "$share/g/", "$share/g+/a", "x" * 65536],
)
def test_filters_no_broker_takes_are_explained(topic_filter: str) -> None:
    assert filter_mistake(topic_filter)


def test_a_topic_to_publish_to_has_no_wildcard_and_can_be_encoded() -> None:
    assert name_mistake("a/b") is None
    assert all(name_mistake(topic) for topic in ("", "a/+", "#", "a\0", "\ud800", "\u00e9" * 40000))
