"""Claims about the device topics of the ingest contract."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.devices.topics import DeviceTopic, parse, valid_id
from appliance.reading import Kind, Reason, Refusal

IDS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(IDS, IDS, st.sampled_from(Kind))
def test_every_well_formed_topic_parses_into_its_parts(tenant: str, device: str, kind: Kind) -> None:
    assert parse(f"tenant/{tenant}/device/{device}/{kind.value}") == DeviceTopic(tenant, device, kind)


@given(st.text(max_size=400))
def test_any_other_text_is_a_refusal_with_one_printable_line(topic: str) -> None:
    result = parse(topic)
    assert isinstance(result, Refusal)
    assert result.reason is Reason.BAD_TOPIC_FORMAT
    assert result.detail.isprintable()
    assert len(result.detail) < 300


@pytest.mark.parametrize(
    ("topic", "detail"),
    [
        ("tenants/a/device/b/telemetry", "publishes to `tenants/...`, should be `tenant/...`"),
        ("Tenant/a/device/b/telemetry", "publishes to `Tenant/...`, should be `tenant/...`"),
        ("tenant/a/devices/b/telemetry", "publishes to `tenant/a/devices/...`, should be `tenant/a/device/...`"),
        ("/tenant/a/device/b/telemetry", "the topic starts with `/`: leave it out"),
        ("tenant//device/b/telemetry", "the tenant id is missing"),
        ("tenant/a/device//telemetry", "the device id is missing"),
        ("tenant/a/device/AA:BB:CC/telemetry", "has `:`: write a MAC address with `-` or without separators"),
        ("tenant/a/device/.b/telemetry", "the device id `.b` starts with `.`"),
        ("tenant/a b/device/c/telemetry", "the tenant id `a b` has ` `"),
        ("tenant/\u00e9/device/c/telemetry", "only A-Z a-z 0-9 . _ - are allowed"),
        (f"tenant/a/device/{'b' * 65}/telemetry", "the device id has 65 characters, at most 64 are allowed"),
        ("tenant/a/device/b", "the kind after the device id is missing"),
        ("tenant/a/device/b/telemetri", "should be `telemetry`"),
        ("tenant/a/device/b/Telemetry", "should be `telemetry`"),
        ("tenant/a/device/b/xyz", "should be one of telemetry, heartbeat, status"),
        ("tenant/a/device/b/down/reboot", "`down/...` is reserved"),
        ("tenant/a/device/b/telemetry/x", "`/x` after the kind is too much"),
        ("tenant/a/device/b/telemetry\n", "the kind `telemetry\\n` is not known"),
        ("tenant/a/device/b/telemetry/", "`/` after the kind is too much"),
        ("a/b/c/d/e/f/g/h/i", "the topic has 9 levels, at most 8 are allowed"),
        ("x" * 257, "the topic is 257 bytes long, at most 256 are allowed"),
        ("\u00e9" * 129, "the topic is 258 bytes long"),
        ("tenant", "the tenant id is missing"),
        ("tenant/a", "the topic ends after `tenant/a`: should be `tenant/{tenant_id}/device/"),
    ],
)
def test_the_detail_names_the_wrong_part_and_its_mend(topic: str, detail: str) -> None:
    result = parse(topic)
    assert isinstance(result, Refusal)
    assert detail in result.detail


def test_ids_are_ascii_letters_digits_dot_underscore_dash_and_do_not_start_with_a_dot() -> None:
    assert all(valid_id(text) for text in ("a", "-", "_x", "a.b", "0" * 64))
    assert not any(valid_id(text) for text in ("", ".a", "a:b", "a/b", "0" * 65, "\u0660", "a\n"))
