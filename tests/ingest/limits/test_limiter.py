"""The limiter's promises one by one: tokens, tenants, overrides, overflow, and backlog credit."""

from collections.abc import Mapping

import pytest

from appliance.ingest.limits import buckets
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import (
    BucketOverride,
    BucketState,
    LimitScope,
    OverrideLookup,
    bucket_key,
    noted_allowance,
)
from tests.support.limiter import limiter_of

DEVICE = bucket_key("acme", "d1")
OTHER = bucket_key("acme", "d2")
START = 1000.0


def passed(limiter: Limiter, key: str, now: float, *, tries: int = 1_000_000) -> int:
    """How many messages pass at ``now`` until the first refusal, at most ``tries``."""
    for count in range(tries):
        if limiter.take(key, now) is not None:
            return count
    return tries


def overrides_of(table: Mapping[tuple[str, str | None], BucketOverride]) -> OverrideLookup:
    """Overrides that can be changed under the limiter's feet, as the registry's can."""
    return lambda tenant_id, device_id: table.get((tenant_id, device_id))


def test_burst_50_allows_50_and_not_51() -> None:
    limiter = limiter_of(rate=10, burst=50)
    assert passed(limiter, DEVICE, START) == 50
    assert limiter.take(DEVICE, START) is LimitScope.DEVICE
    assert limiter.take(OTHER, START) is None


def test_a_device_at_exactly_its_rate_passes_for_ever_with_a_burst_of_one() -> None:
    limiter = limiter_of(rate=10, burst=1)
    assert all(limiter.take(DEVICE, START + step / 10) is None for step in range(20_000))


@pytest.mark.parametrize("rate", [3, 7, 0.3, 999.9])
def test_a_rate_that_is_no_whole_number_of_nanoseconds_is_never_cut_short(rate: float) -> None:
    limiter = limiter_of(rate=rate, burst=1)
    assert all(limiter.take(DEVICE, START + step / rate + 1e-9) is None for step in range(20_000))


def test_the_refill_is_exact_to_the_nanosecond() -> None:
    limiter = limiter_of(rate=10, burst=50)
    passed(limiter, DEVICE, 0.0)
    assert limiter.take(DEVICE, 0.099_999_999) is LimitScope.DEVICE
    assert limiter.take(DEVICE, 0.1) is None


def test_a_device_not_heard_since_the_start_is_shown_with_what_was_noted_of_it() -> None:
    limiter = limiter_of(rate=10, burst=50, backlog=100)
    assert limiter.effective("acme", "d1", START).allowance is None
    noted = noted_allowance(START, START + 30, START - 1000)
    assert limiter.effective("acme", "d1", START, noted) == BucketState(10, 50, 50, False, 700, 1000)
    never = noted_allowance(START, None, START - 20)
    assert limiter.effective("acme", "d1", START, never).allowance == 200


@pytest.mark.parametrize("ahead", [151, 1e9])
def test_an_allowance_noted_by_a_wrong_clock_counts_as_not_noted(ahead: float) -> None:
    noted = noted_allowance(START, START + 605 + ahead, START - 20)
    assert limiter_of(rate=10, burst=50, backlog=100).effective("acme", "d1", START, noted).allowance == 200
    registered_by_it = noted_allowance(START, START + 605 + ahead, START + 601)
    assert limiter_of(rate=10, burst=50, backlog=100).effective("acme", "d1", START, registered_by_it).allowance == 1000


def test_a_refused_message_costs_no_token() -> None:
    limiter = limiter_of(rate=10, burst=50)
    passed(limiter, DEVICE, START)
    for _ in range(1000):
        assert limiter.take(DEVICE, START) is LimitScope.DEVICE
    assert passed(limiter, DEVICE, START + 0.5) == 5


def test_time_that_goes_backwards_gives_nothing() -> None:
    limiter = limiter_of(rate=10, burst=50)
    passed(limiter, DEVICE, START)
    assert limiter.take(DEVICE, START - 500) is LimitScope.DEVICE
    assert passed(limiter, OTHER, START - 500) == 50
    assert passed(limiter, OTHER, START) == 0
    assert passed(limiter, DEVICE, START + 0.3) == 3


def test_a_tenant_shares_its_rate_with_the_burst_of_the_same_time() -> None:
    limiter = limiter_of(rate=10, burst=50, tenant_rate=12)
    assert passed(limiter, DEVICE, START) == 50
    assert passed(limiter, OTHER, START) == 10
    assert limiter.take(OTHER, START) is LimitScope.TENANT
    assert limiter.take(bucket_key("other", "d1"), START) is None


def test_a_small_tenant_rate_still_lets_one_pass() -> None:
    limiter = limiter_of(rate=10, burst=1, tenant_rate=0.1)
    assert limiter.take(DEVICE, START) is None
    assert limiter.take(OTHER, START + 9.9) is LimitScope.TENANT
    assert limiter.take(OTHER, START + 10) is None


def test_the_device_token_is_given_back_when_the_tenant_refuses() -> None:
    limiter = limiter_of(rate=10, burst=50, tenant_rate=1)
    assert passed(limiter, DEVICE, START) == 5
    for _ in range(100):
        assert limiter.take(DEVICE, START) is LimitScope.TENANT
    assert limiter.effective("acme", "d1", START).fill == 45
    assert limiter.take(OTHER, START) is LimitScope.TENANT
    assert limiter.effective("acme", "d2", START).fill == 50


def test_a_device_is_told_when_to_try_again() -> None:
    limiter = limiter_of(rate=10, burst=50, tenant_rate=20)
    assert limiter.retry_after(DEVICE, START) == 0
    passed(limiter, DEVICE, START)
    assert limiter.retry_after(DEVICE, START) == pytest.approx(0.1)
    assert limiter.retry_after(OTHER, START) == 0
    passed(limiter, OTHER, START)
    assert limiter.retry_after(bucket_key("acme", "d3"), START) == pytest.approx(0.05)
    wait = limiter.retry_after(DEVICE, START + 0.02)
    assert limiter.take(DEVICE, START + 0.02 + wait) is None
    assert limiter.retry_after(DEVICE, START + 0.3) == 0


def test_the_narrower_override_wins() -> None:
    limiter = limiter_of(
        rate=10,
        burst=50,
        overrides=overrides_of(
            {
                ("acme", None): BucketOverride(rate=2, burst=20, tenant_rate=100),
                ("acme", "d1"): BucketOverride(burst=7),
                ("other", "d1"): BucketOverride(rate=1),
            }
        ),
    )
    assert limiter.effective("acme", "d1", START) == BucketState(2, 7, 7, overflow=False)
    assert limiter.effective("acme", "d2", START) == BucketState(2, 20, 20, overflow=False)
    assert limiter.effective("other", "d1", START) == BucketState(1, 50, 50, overflow=False)
    assert limiter.effective("else", "d1", START) == BucketState(10, 50, 50, overflow=False)
    assert limiter.effective_of_tenant("acme", START) == BucketState(100, 1000, 1000, overflow=False)
    assert limiter.effective_of_tenant("other", START) is None
    assert passed(limiter, DEVICE, START) == 7
    state = limiter.effective_of_tenant("acme", START)
    assert state is not None
    assert state.fill == 1000 - 7
    assert limiter.effective("acme", "d1", START + 1) == BucketState(2, 7, 2, overflow=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0},
        {"rate": -1},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"burst": 0},
        {"tenant_rate": -1},
        {"tenant_rate": float("nan")},
    ],
)
def test_limits_that_are_none_are_refused_where_they_are_made(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BucketOverride(**wrong)  # type: ignore[arg-type] # whole and broken numbers alike
    with pytest.raises(ValueError, match=next(iter(wrong))):
        limiter_of(**wrong)  # type: ignore[arg-type] # the same


def test_a_limit_of_next_to_nothing_is_still_a_limit() -> None:
    limiter = limiter_of(rate=5e-324, burst=3, tenant_rate=1e9)
    assert passed(limiter, DEVICE, START) == 3
    assert limiter.take(DEVICE, START + 1e9) is LimitScope.DEVICE
    assert limiter.retry_after(DEVICE, START + 1e9) > 1e9


def keys(count: int, tenant_id: str = "acme") -> list[str]:
    return [bucket_key(tenant_id, f"d{number}") for number in range(count)]


def test_past_the_bound_only_a_full_bucket_is_forgotten() -> None:
    limiter = limiter_of(rate=1, burst=5, max_tracked_devices=4)
    first = keys(4)
    for key in first:
        passed(limiter, key, START)
    limiter.take(bucket_key("acme", "new"), START + 4.9)
    assert limiter.effective("acme", "new", START + 4.9).overflow
    assert [passed(limiter, key, START + 4.9) for key in first] == [4] * 4
    # Only d2 rests until it is full; then the new one has its place, and nobody gained anything.
    for now in (START + 5.9, START + 6.9, START + 7.9, START + 8.9):
        for key in (first[0], first[1], first[3]):
            assert limiter.take(key, now) is None
    assert limiter.take(bucket_key("acme", "new"), START + 9.9) is None
    assert limiter.effective("acme", "new", START + 9.9) == BucketState(1, 5, 4, overflow=False)
    assert [passed(limiter, key, START + 9.9) for key in (first[0], first[1], first[3])] == [1, 1, 1]


def test_no_bucket_is_forgotten_as_full_by_limits_that_hold_no_longer() -> None:
    table: dict[tuple[str, str | None], BucketOverride] = {}
    limiter = limiter_of(rate=10, burst=50, max_tracked_devices=1, overrides=overrides_of(table))
    passed(limiter, DEVICE, START)
    table["acme", "d1"] = BucketOverride(rate=0.1)
    limiter.limits_changed(START, "acme")
    limiter.take(bucket_key("other", "d1"), START + 100)  # five seconds would have filled it before
    assert limiter.effective("other", "d1", START + 100).overflow
    assert passed(limiter, DEVICE, START + 100) == 10


def test_without_room_new_ids_of_a_tenant_share_ten_times_a_device() -> None:
    limiter = limiter_of(rate=1, burst=5, max_tracked_devices=2)
    for key in keys(2):
        passed(limiter, key, START)
    late = keys(100, "late")
    assert [limiter.take(key, START) for key in late].count(None) == 50
    assert limiter.take(late[-1], START) is LimitScope.OVERFLOW
    assert limiter.effective("late", "d99", START) == BucketState(10, 50, 0, overflow=True)
    assert limiter.retry_after(late[0], START) == pytest.approx(0.1)
    assert [limiter.take(key, START + 1) for key in late].count(None) == 10
    assert passed(limiter, bucket_key("third", "d1"), START + 1) == 50
    # Room appears: the two are full again.
    assert passed(limiter, late[0], START + 5) == 5


def test_the_overflow_bucket_is_under_its_tenants_limit_too() -> None:
    limits: dict[tuple[str, str | None], BucketOverride] = {
        ("acme", None): BucketOverride(rate=2, burst=4, tenant_rate=10)
    }
    limiter = limiter_of(rate=1, burst=5, max_tracked_devices=1, overrides=overrides_of(limits))
    passed(limiter, bucket_key("other", "d1"), START)
    assert [limiter.take(key, START) for key in keys(100)].count(None) == 20
    assert limiter.take(DEVICE, START) is LimitScope.TENANT
    assert limiter.effective("acme", "d1", START) == BucketState(20, 40, 20, overflow=True)


def test_a_million_tenants_that_do_not_exist_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MAX_TENANTS", 3)
    limiter = limiter_of(rate=1, burst=5, tenant_rate=1, max_tracked_devices=1)
    verdicts = [limiter.take(bucket_key(f"t{number}", "d"), START) for number in range(1000)]
    # Four tenants have a bucket of their own or the one of unknown tenants, which gives five; the last four overflow
    # buckets are never empty before their tenants' are.
    assert limiter.tracked <= 1 + 2 * (3 + 1)
    assert verdicts[:4] == [None] * 4
    assert verdicts.count(None) == 3 + 5
    assert limiter.retry_after(bucket_key("t999", "d"), START) == pytest.approx(1)
    state = limiter.effective_of_tenant("t999", START)
    assert state is not None
    assert state.fill == 0


def test_the_default_bound_holds_under_a_flood_of_new_ids() -> None:
    limiter = limiter_of(rate=1, burst=2, max_tracked_devices=5000)
    passing = sum(limiter.take(bucket_key("flood", str(number)), START) is None for number in range(20_000))
    assert limiter.tracked == 5001
    assert passing == 5000 + 20
    # A second later all are full: each further new id finds one to forget.
    assert all(limiter.take(bucket_key("flood", f"x{number}"), START + 1) is None for number in range(5000))
    assert limiter.tracked == 5001


def test_credit_lets_every_bucket_hold_the_outage_new_ones_included() -> None:
    limiter = limiter_of(rate=10, burst=50)
    passed(limiter, DEVICE, START)
    limiter.credit(60, START + 100)
    assert limiter.effective("acme", "d1", START + 100).fill == 50 + 600
    assert passed(limiter, DEVICE, START + 100) == 50 + 600
    assert passed(limiter, OTHER, START + 100) == 50 + 600


def test_tokens_spent_before_the_outage_are_not_credited() -> None:
    limiter = limiter_of(rate=10, burst=50)
    passed(limiter, DEVICE, START)
    limiter.credit(60, START + 60)
    assert passed(limiter, DEVICE, START + 60) == 600


def test_outages_add_up_until_the_backlog_is_drained() -> None:
    limiter = limiter_of(rate=10, burst=50)
    limiter.credit(60, START)
    limiter.credit(30, START + 35)
    assert passed(limiter, DEVICE, START + 35) == 50 + 950
    limiter.backlog_drained()
    limiter.credit(20, START + 100)
    assert passed(limiter, OTHER, START + 100) == 50 + 200


def test_one_outage_reported_twice_is_credited_once() -> None:
    limiter = limiter_of(rate=10, burst=50)
    limiter.credit(60, START)
    limiter.credit(61, START + 1)
    assert passed(limiter, DEVICE, START + 1) == 50 + 610


def test_after_draining_every_bucket_is_cut_to_its_burst() -> None:
    limiter = limiter_of(rate=10, burst=50)
    limiter.credit(60, START)
    limiter.take(DEVICE, START)
    limiter.backlog_drained()
    assert limiter.effective("acme", "d1", START).fill == 50
    assert passed(limiter, DEVICE, START) == 50
    assert passed(limiter, OTHER, START) == 50


def test_credit_never_reaches_back_beyond_the_last_draining() -> None:
    limiter = limiter_of(rate=10, burst=50)
    limiter.credit(60, START)
    limiter.take(DEVICE, START)
    limiter.backlog_drained()
    limiter.credit(3600, START + 1)
    assert passed(limiter, DEVICE, START + 1) == 60


def test_a_wall_clock_that_went_backwards_credits_nothing() -> None:
    limiter = limiter_of(rate=10, burst=50)
    limiter.credit(-3600, START)
    assert passed(limiter, DEVICE, START) == 50


def test_a_device_heard_over_http_while_the_broker_was_away_gets_nothing_twice() -> None:
    limiter = limiter_of(rate=10, burst=50)
    heard = sum(passed(limiter, DEVICE, START + step) for step in range(60))
    limiter.credit(60, START + 60)
    heard += passed(limiter, DEVICE, START + 60)
    assert heard == 50 + 600


def test_credit_counts_for_tenants_and_overflows_alike() -> None:
    limiter = limiter_of(rate=10, burst=50, tenant_rate=20, max_tracked_devices=1)
    passed(limiter, bucket_key("other", "d1"), START)
    limiter.credit(60, START + 60)
    limiter.take(bucket_key("other", "d1"), START + 60)
    assert limiter.take(DEVICE, START + 60) is None
    assert limiter.effective("acme", "d1", START + 60) == BucketState(100, 500, 500 + 6000 - 1, overflow=True)
    state = limiter.effective_of_tenant("acme", START + 60)
    assert state is not None
    assert state.fill == 100 + 1200 - 1


def test_fifteen_minutes_away_200_devices_at_their_full_rate_none_refused() -> None:
    """The arithmetic of issue 3, harder: at 10/s, not 1/s, with the default limits, drained at 20,000 a second."""
    limiter = limiter_of()
    away, devices = 900, keys(200)
    for key in devices:
        passed(limiter, key, START - 5)  # spent to the last token, and full again just when the outage starts
    limiter.credit(away, START + away)
    # The backlog and what comes while it drains, a device after the other: the last ones' share has waited longest.
    drained_by = START + away
    for key in devices:
        drained_by += 9000 / 20_000
        for _ in range(int(10 * (drained_by - START))):
            assert limiter.take(key, drained_by) is None
    limiter.backlog_drained()
