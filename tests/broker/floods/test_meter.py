"""How much refused is a flood, and what counting it costs."""

import pytest

from appliance.broker.floods.meter import MAX_BYTES, MAX_MESSAGES, MAX_SENDERS, MOST_ALLOWED, WINDOW_SECONDS, FloodMeter
from appliance.ingest.batch import RefusedSubmission
from appliance.reading import Reason

ALLOWED = 150
"""Messages that the limits let through of one device within a window."""


def refused(topic: str, payload: bytes = b"") -> RefusedSubmission:
    return RefusedSubmission(0, Reason.RATE_LIMITED, "", topic, payload)


def sent(device: str, count: int = 1, payload: bytes = b"x", tenant: str = "acme") -> list[RefusedSubmission]:
    return [refused(f"tenant/{tenant}/device/{device}/telemetry", payload)] * count


@pytest.mark.parametrize(("count", "size"), [(MAX_MESSAGES, 1), (MAX_BYTES // 32_768, 32_768)])
def test_one_more_than_may_be_refused_is_a_flood_of_its_device(count: int, size: int) -> None:
    meter = FloodMeter(lambda _: ALLOWED)
    assert not meter.note(sent("d1", count, b"x" * size), 0.0)
    assert list(meter.floods()) == []
    assert meter.note(sent("d1", 1, b"x" * size), 9.0)
    [flood] = meter.floods()
    assert (flood.tenant_id, flood.device_id, flood.refused.messages) == ("acme", "d1", count + 1)


@pytest.mark.parametrize("allowed", [2 * MAX_MESSAGES, 100 * MOST_ALLOWED])
def test_what_the_limits_of_a_device_allow_is_no_flood_of_it(allowed: int) -> None:
    most = min(allowed, MOST_ALLOWED)
    meter = FloodMeter(lambda _: allowed)
    meter.note(sent("d1", most), 0.0)
    assert [flood.device_id for flood in meter.floods()] == [None]
    meter.note(sent("d1"), 0.0)
    assert [flood.device_id for flood in meter.floods()] == ["d1"]


def test_what_the_limits_allow_in_a_window_does_not_count_before_its_time() -> None:
    meter = FloodMeter(lambda seconds: 50 + 10 * seconds)
    for begun in (0.0, WINDOW_SECONDS):
        meter.note(sent("d1"), begun)
        assert meter.allowed == 50
        meter.note(sent("d1"), begun + 3.0)
        assert meter.allowed == 80


def test_what_comes_slowly_is_no_flood() -> None:
    meter = FloodMeter(lambda _: ALLOWED)
    for second in range(100):
        assert not meter.note(sent("d1", MAX_MESSAGES // 11), float(second))
    assert list(meter.floods()) == []


def test_many_devices_that_are_refused_a_little_each_flood_as_a_tenant() -> None:
    meter = FloodMeter(lambda _: ALLOWED)
    for number in range(MAX_MESSAGES + 1):
        meter.note(sent(f"d{number}"), 0.0)
    meter.note(sent("d1", tenant="other"), 0.0)
    [flood] = meter.floods()
    assert (flood.tenant_id, flood.device_id, len(flood.senders)) == ("acme", None, MAX_MESSAGES + 1)


def test_invented_devices_take_no_memory_without_end_and_leave_the_counts_exact() -> None:
    meter = FloodMeter(lambda _: ALLOWED)
    for number in range(2 * MAX_SENDERS):
        meter.note(sent(f"d{number}"), 0.0)
    meter.note(sent("x" * 60_000), 0.0)
    meter.note([refused("tenant"), refused("a/b/c")], 0.0)
    [flood] = meter.floods()
    assert flood.refused.messages == 2 * MAX_SENDERS + 1
    assert len(flood.senders) == MAX_SENDERS
    meter.note(sent("d1"), WINDOW_SECONDS)
    assert list(meter.floods()) == []
