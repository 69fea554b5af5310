"""Topics are filled by plain substitution, and none can lead back into the appliance."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.broker.accounts import PROBE_TOPIC
from appliance.broker.clients import SUBSCRIPTION
from appliance.broker.neighbours import TOPIC
from appliance.delivery.senders.mqtt_topic import LISTENED_TO, PLACEHOLDERS, checked_topic, filled
from appliance.errors import Invalid
from appliance.mqtt.topics import filter_matches
from tests.support.notices import alert_facts, notice

PARTS = st.sampled_from(
    ["tenant", "device", "appliance", "peers", "probe", "a", "", "x{severity}", "{event}", "{site_id}"]
)


def test_the_topics_that_are_refused_are_those_that_the_appliance_listens_to() -> None:
    assert set(LISTENED_TO) == {SUBSCRIPTION, TOPIC, PROBE_TOPIC}


@pytest.mark.parametrize(
    ("template", "topic"),
    [
        ("alerts", "alerts"),
        ("alerts/{site_id}/{severity}", "alerts/hall-2/critical"),
        ("{tenant_id}/{device_id}/{alert_id}/{event}", "acme/frz-3/4711/OPEN"),
        ("{alert_type}", "THRESHOLD"),
        ("tenant/acme/alerts/{device_id}", "tenant/acme/alerts/frz-3"),
        ("tenant/acme/device/frz-3", "tenant/acme/device/frz-3"),
        ("appliance/alerts", "appliance/alerts"),
    ],
)
def test_a_topic_is_filled_by_plain_substitution(template: str, topic: str) -> None:
    assert filled(checked_topic(template, "topic"), notice()) == topic


def test_what_an_alert_does_not_have_is_a_dash_and_a_value_stays_within_its_level() -> None:
    alone = notice(alert=alert_facts(site_id=None, device_id="a/b+c#d"))
    assert filled("{site_id}/{device_id}", alone) == "-/a_b_c_d"
    assert filled("{device_id}/x", notice(alert=alert_facts(device_id="$SYS"))) == "_SYS/x"
    assert filled("{device_id}", notice(alert=alert_facts(device_id="{severity}"))) == "{severity}"


@pytest.mark.parametrize(
    "template",
    [
        "", "a/+", "a/#", "#", "$SYS/a", "a\0b", "a\nb", "x" * 65_536, "{unknown}", "{severity", "severity}",
        "{{severity}}", "{}", "{severity.name}", "{0}", "%(severity)s/{{7*7}}",
    ],
)  # fmt: skip
def test_what_is_no_topic_is_refused_with_the_field(template: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_topic(template, "topic")
    assert refusal.value.field == "topic"


@pytest.mark.parametrize(
    "template",
    [
        "tenant/acme/device/frz-3/telemetry",
        "tenant/{tenant_id}/device/{device_id}/alerts",
        "tenant/a/{event}/b/c",
        "{site_id}/a/device/b/c",
        "t{site_id}/a/d{severity}e/b/c",
        "tenant//device//",
        "appliance/peers",
        "appliance/{alert_type}",
        "{site_id}/probe",
    ],
)
def test_a_topic_that_the_appliance_would_read_is_refused(template: str) -> None:
    with pytest.raises(Invalid, match="itself listens"):
        checked_topic(template, "topic")


@given(
    st.lists(PARTS, min_size=1, max_size=6).map("/".join), st.lists(st.sampled_from(["tenant", "device", "peers", "a"]))
)
def test_whatever_placeholders_become_no_topic_leads_back(template: str, values: list[str]) -> None:
    try:
        checked_topic(template, "topic")
    except Invalid:
        assume(False)
    given_values = dict(zip(("site_id", "device_id"), [*values, "tenant", "device"], strict=False))
    topic = filled(template, notice(alert=alert_facts(**given_values)))
    assert not any(filter_matches(listened, topic) for listened in LISTENED_TO)


def test_every_placeholder_gives_a_level() -> None:
    for name in PLACEHOLDERS:
        assert filled(f"a/{{{name}}}", notice()).startswith("a/")


def test_a_topic_that_grows_too_long_or_would_lead_back_is_not_published() -> None:
    with pytest.raises(ValueError, match="longer than"):
        filled("{device_id}" * 20, notice(alert=alert_facts(device_id="x" * 4000)))
    with pytest.raises(ValueError, match="itself listens"):
        filled("tenant/a/device/b/c", notice())
