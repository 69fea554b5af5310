"""The short way of a delayed message leads to the same as the long one."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.ingest.limits.bucket import DELAYED, LEAST_DELAYED, SECOND
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import NotedAllowance, bucket_key
from tests.support.limiter import limiter_of

KEY = bucket_key("acme", "d1")
BACKLOG = 60
ages = st.one_of(
    st.integers(0, BACKLOG * SECOND * 2), st.sampled_from([LEAST_DELAYED, LEAST_DELAYED - 1, DELAYED, DELAYED - 1])
)


def charge(limiter: Limiter, age: int, now: float, *, short: bool) -> object:
    scope = limiter.take(KEY, now)
    if scope is None and not (short and limiter.shift_taken(age)) and limiter.delayed(KEY, age):
        limiter.shift(KEY, now)
    return scope


@given(
    full_in=st.one_of(st.none(), st.integers(0, BACKLOG * SECOND)),
    messages=st.lists(st.tuples(ages, st.sampled_from([0.0, 0.01, 0.3, 2.0, 70.0])), max_size=60),
)
def test_both_ways_leave_the_same_behind(full_in: int | None, messages: list[tuple[int, float]]) -> None:
    short, long = (
        limiter_of(rate=5, burst=4, backlog=BACKLOG, allowances=lambda *_: NotedAllowance(full_in, 0)) for _ in range(2)
    )
    now = 1000.0
    for age, later in messages:
        now += later
        assert charge(short, age, now, short=True) == charge(long, age, now, short=False)
        assert short.effective("acme", "d1", now) == long.effective("acme", "d1", now)
