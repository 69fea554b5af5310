"""Delayed messages are charged to an allowance, the checks over a batch around it, without a database."""

from collections.abc import Callable

import pytest

from appliance.devices.registry.cache import FOREVER, AdmissionStatus
from appliance.ingest.admission import Admission
from appliance.ingest.batch import Batch, Charge
from appliance.ingest.limits.terms import NotedAllowance
from appliance.reading import Reason, Refusal
from tests.support.admission import KEY, NOW, SECOND, TOPIC, Everyone, admission, admit
from tests.support.limiter import limiter_of
from tests.support.pipeline import Message


def delayed(number: int, age: float = 60) -> tuple[str, bytes]:
    """Return a message with its own time, ``age`` seconds before NOW."""
    return TOPIC, b'{"ts":%d,"a":%d}' % ((NOW - round(age * SECOND)) // 1000, number)


def reasons(batch: Batch) -> list[Reason]:
    return [refused.reason for refused in sorted(batch.refused, key=lambda refused: refused.index)]


def holding(seconds: float) -> Callable[[str, str | None], NotedAllowance]:
    """Return what is noted of allowances that hold so many ``seconds`` of 1,000."""
    return lambda _tenant_id, _device_id: NotedAllowance(round((1000 - seconds) * 1e9), 0)


def by_allowance(seconds: float, registry: Everyone | None = None) -> Admission:
    """Return an admission with a bucket of 2 and an allowance of so many seconds, one message a second."""
    limiter = limiter_of(rate=1, burst=2, backlog=1000, allowances=holding(seconds))
    return admission(registry, limiter)


def test_delayed_messages_draw_on_the_allowance_and_leave_the_bucket_to_live_ones() -> None:
    by = by_allowance(5)
    batch = admit(
        *[delayed(number) for number in range(5)], (TOPIC, b'{"a":1}'), (TOPIC, b'{"a":2}'), delayed(5), by=by
    )
    assert [reading.index for reading in batch.readings] == [0, 1, 2, 3, 4, 5, 6]
    assert reasons(batch) == [Reason.RATE_LIMITED]


def test_delayed_messages_draw_on_the_bucket_once_the_allowance_is_empty() -> None:
    batch = admit(*[delayed(number) for number in range(8)], by=by_allowance(5))
    assert (len(batch.readings), reasons(batch)) == (7, [Reason.RATE_LIMITED])


@pytest.mark.parametrize("age", [0, 9.999, -60, 1000.001, 10 * 86_400])
def test_a_message_is_delayed_from_ten_seconds_to_the_whole_backlog(age: float) -> None:
    limits = {"rate": 1.0, "burst": 11, "backlog": 1000.0, "allowances": holding(1000)}
    batch = admit(*[delayed(number, age) for number in range(12)], by=admission(None, limiter_of(**limits)))  # type: ignore[arg-type]
    assert (len(batch.readings), reasons(batch)) == (11, [Reason.RATE_LIMITED])
    for bound in (10, 1000):
        by = admission(None, limiter_of(**limits))  # type: ignore[arg-type]
        assert len(admit(*[delayed(number, bound) for number in range(20)], by=by).readings) == 20


def test_it_is_delayed_sooner_where_a_full_bucket_holds_less_than_ten_seconds() -> None:
    """Else the youngest part of a backlog would be refused: 600 readings of the last minute, all at once."""
    by = admission(None, limiter_of(rate=10, burst=50, backlog=1000, allowances=holding(1000)))
    batch = admit(*[delayed(number, number / 10) for number in range(600, 0, -1)], by=by)
    assert (len(batch.readings), batch.refused) == (600, [])
    live = admit(*[delayed(number, 0.9) for number in range(51)], by=admission(None, limiter_of(rate=10, burst=1)))
    assert len(live.readings) == 1, "a live flood is none"


def test_with_something_in_the_allowance_the_payload_is_read_before_the_empty_bucket_counts() -> None:
    by = by_allowance(5)
    batch = admit((TOPIC, b'{"a":1}'), (TOPIC, b'{"a":2}'), (TOPIC, b"{"), (TOPIC, b'{"a":3}'), delayed(1), by=by)
    assert reasons(batch) == [Reason.INVALID_JSON, Reason.RATE_LIMITED]
    assert [reading.index for reading in batch.readings] == [0, 1, 4]
    empty = by_allowance(0)
    batch = admit((TOPIC, b'{"a":1}'), (TOPIC, b'{"a":2}'), (TOPIC, b"{"), delayed(1), by=empty)
    assert reasons(batch) == [Reason.RATE_LIMITED] * 2


def test_a_delayed_message_refused_by_a_later_check_has_spent_its_token() -> None:
    registry = Everyone()
    registry.statuses[KEY] = registry.status(KEY, Refusal(Reason.DEVICE_INACTIVE, "the device is deactivated"))
    batch = admit(*[delayed(number) for number in range(9)], by=by_allowance(5, registry))
    assert reasons(batch) == [Reason.DEVICE_INACTIVE] * 7 + [Reason.RATE_LIMITED] * 2


def test_delayed_messages_of_a_device_that_is_not_in_memory_wait_and_are_charged_from_there() -> None:
    registry = Everyone()
    registry.statuses[KEY] = None
    known: list[NotedAllowance] = []
    limiter = limiter_of(rate=1, burst=2, backlog=1000, allowances=lambda *_: known[0] if known else None)
    by = admission(registry, limiter)
    batch = admit(*[delayed(number) for number in range(9)], (TOPIC, b'{"a":1}'), by=by)
    charges = [candidate.charge for candidate in batch.waiting]
    assert charges == [Charge.BUCKET] * 2 + [Charge.OWED] * 7 + [Charge.BEHIND]
    assert reasons(batch) == []
    known.append(NotedAllowance(995 * 10**9, 0))
    by.resume(batch, {KEY: registry.status(KEY)}, NOW / SECOND)
    assert [reading.index for reading in batch.readings] == [0, 1, 2, 3, 4, 5, 6]
    assert reasons(batch) == [Reason.RATE_LIMITED] * 3


def test_an_unregistered_device_has_its_bucket_only() -> None:
    registry = Everyone()
    registry.statuses[KEY] = AdmissionStatus(
        registry.known_tenant, Refusal(Reason.UNREGISTERED_DEVICE, "the device is not registered"), FOREVER
    )
    by = admission(registry, limiter_of(rate=1, burst=2, backlog=1000))
    batch = admit(*[delayed(number) for number in range(4)], by=by)
    assert reasons(batch) == [Reason.UNREGISTERED_DEVICE] * 2 + [Reason.RATE_LIMITED] * 2


def test_a_redelivered_delayed_message_is_charged_to_nothing() -> None:
    by = by_allowance(5)
    messages = [Message(*delayed(number)) for number in range(7)]
    assert len(by.admit(messages, NOW, NOW / SECOND).readings) == 7
    assert len(by.admit(messages, NOW, NOW / SECOND, frozenset(range(7))).readings) == 7
