"""What a changed limit does to tokens and credit: nothing is given away, and nothing is owed for having kept to it."""

import pytest

from appliance.ingest.limits.terms import BucketOverride, BucketState
from tests.ingest.limits.test_limiter import DEVICE, START, overrides_of, passed
from tests.support.limiter import limiter_of


@pytest.mark.parametrize("ids", [("acme", "d1"), ("acme",), ()])
def test_a_changed_limit_holds_from_the_moment_it_is_announced(ids: tuple[str, ...]) -> None:
    table: dict[tuple[str, str | None], BucketOverride] = {("acme", "d1"): BucketOverride(rate=0.001, burst=10)}
    limiter = limiter_of(rate=10, burst=50, overrides=overrides_of(table))
    assert passed(limiter, DEVICE, START) == 10
    table["acme", "d1"] = BucketOverride(rate=5, burst=30)
    limiter.limits_changed(START, *ids)
    # Five seconds later at the new rate, however late the bucket hears of it; and ten were spent.
    assert limiter.effective("acme", "d1", START + 1) == BucketState(5, 30, 25, overflow=False)
    assert passed(limiter, DEVICE, START + 1) == 25
    del table["acme", "d1"]
    limiter.limits_changed(START + 1, *ids)
    assert limiter.effective("acme", "d1", START + 1) == BucketState(10, 50, 20, overflow=False)


def test_lowering_a_limit_and_raising_it_again_gives_no_tokens_away() -> None:
    table: dict[tuple[str, str | None], BucketOverride] = {}
    limiter = limiter_of(rate=10, burst=50, overrides=overrides_of(table))
    total = 0
    for _ in range(10):
        table["acme", "d1"] = BucketOverride(rate=3, burst=5)
        limiter.limits_changed(START, "acme", "d1")
        total += passed(limiter, DEVICE, START)
        table.clear()
        limiter.limits_changed(START, "acme", "d1")
        total += passed(limiter, DEVICE, START)
    assert total == 50


@pytest.mark.parametrize("ids", [("acme", "d1"), ("acme",), ()])
def test_a_limit_lowered_after_an_outage_refuses_no_device_that_keeps_to_it(ids: tuple[str, ...]) -> None:
    table: dict[tuple[str, str | None], BucketOverride] = {}
    limiter = limiter_of(rate=10, burst=1, overrides=overrides_of(table))
    assert limiter.take(DEVICE, START) is None
    limiter.credit(3600, START + 3600)
    assert all(limiter.take(DEVICE, START + 3600) is None for _ in range(36_000))
    table["acme", "d1"] = BucketOverride(rate=1)
    limiter.limits_changed(START + 3600, *ids)
    assert all(limiter.take(DEVICE, START + 3600 + step) is None for step in range(1, 60))
    limiter.backlog_drained()
    assert all(limiter.take(DEVICE, START + 3600 + step) is None for step in range(60, 120))


def test_lowering_a_limit_and_raising_it_again_gives_no_credit_away() -> None:
    table: dict[tuple[str, str | None], BucketOverride] = {}
    limiter = limiter_of(rate=10, burst=50, overrides=overrides_of(table))
    limiter.credit(60, START)
    total = passed(limiter, DEVICE, START, tries=300)
    for _ in range(10):
        table["acme", "d1"] = BucketOverride(rate=1, burst=5)
        limiter.limits_changed(START, "acme", "d1")
        total += passed(limiter, DEVICE, START, tries=2)
        table.clear()
        limiter.limits_changed(START, "acme", "d1")
    # Of the credit of a minute, 20 messages at the lower rate have taken 20 seconds.
    assert total + passed(limiter, DEVICE, START) == 300 + 20 + (300 - 200) + 50


def test_a_tenant_limit_that_comes_goes_and_comes_back() -> None:
    table: dict[tuple[str, str | None], BucketOverride] = {}
    limiter = limiter_of(rate=10, burst=50, overrides=overrides_of(table))
    for step, (tenant_rate, expected) in enumerate([(0, 50), (2, 10), (0, 50), (2, 10)]):
        table["acme", None] = BucketOverride(tenant_rate=tenant_rate)
        now = START + 100 * step
        limiter.limits_changed(now, "acme")
        assert passed(limiter, DEVICE, now) == expected
