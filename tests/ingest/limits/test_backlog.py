"""P11, both halves: who kept to its rate is never refused because the appliance was away, and nobody gets more."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ingest.limits.terms import bucket_key
from tests.support import soak
from tests.support.limiter import limiter_of

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND


@dataclass(frozen=True)
class Message:
    """When a device sent it and when it reached the limiter, in nanoseconds."""

    key: str
    sent: int
    arrived: int


def kept_to_its_rate(gaps: Sequence[int], interval: int, burst: int) -> list[int]:
    """Times of sending made from wishes: what a device that counts its own tokens, exactly, would have sent."""
    times: list[int] = []
    now, tokens = 0, burst * interval  # tokens in nanoseconds of waiting
    for gap in gaps:
        now, tokens = now + gap, min(burst * interval, tokens + gap)
        if tokens < interval:
            now, tokens = now + interval - tokens, interval
        tokens -= interval
        times.append(now)
    return times


@settings(max_examples=soak.times(150), deadline=None)
@given(
    data=st.data(),
    rate=st.sampled_from([1, 2, 5, 10, 50]),
    burst=st.integers(1, 20),
    outages=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 60)), min_size=1, max_size=3),
    slowest=st.integers(0, 30 * SECOND),
)
def test_a_device_that_kept_to_its_rate_is_never_refused(
    data: st.DataObject, rate: int, burst: int, outages: list[tuple[int, int]], slowest: int
) -> None:
    """Any number of outages in a row; the backlog comes in any order and as late as it likes; then life goes on."""
    interval = SECOND // rate
    away: list[tuple[int, int]] = []
    for calm, length in outages:
        start = (away[-1][1] if away else 0) + calm * SECOND
        away.append((start, start + length * SECOND))
    first, drained = away[0][0], away[-1][1] + slowest

    def arrival(sent: int) -> int:
        """On time before the outages and after the draining; in between whenever the appliance is there."""
        if not first <= sent < drained:
            return sent
        arrived = data.draw(st.integers(sent, drained))
        return next((end for start, end in away if start <= arrived < end), arrived)

    messages: list[Message] = []
    for device in range(data.draw(st.integers(1, 3))):
        gaps = data.draw(
            st.lists(
                st.sampled_from([0, interval, interval // 2, 7 * interval]) | st.integers(0, 9 * SECOND), max_size=60
            )
        )
        key = bucket_key("acme", f"d{device}")
        messages += [Message(key, sent, arrival(sent)) for sent in kept_to_its_rate(gaps, interval, burst)]
    messages.sort(key=attrgetter("arrived"))

    limiter = limiter_of(rate=rate, burst=burst)
    ends = [end for _, end in away]
    for message in messages:
        while ends and message.arrived >= ends[0]:
            end = ends.pop(0)
            start = next(start for start, stop in away if stop == end)
            limiter.credit((end - start) / SECOND, end / SECOND)
        if message.arrived > drained:
            limiter.backlog_drained()
        assert limiter.take(message.key, message.arrived / SECOND) is None


@settings(max_examples=soak.times(100), deadline=None)
@given(
    rate=st.sampled_from([1, 2, 5, 10, 50]),
    burst=st.integers(1, 20),
    steps=st.lists(
        st.tuples(
            st.integers(0, 100 * 1000).map(lambda milliseconds: milliseconds * MILLISECOND),
            st.sampled_from(["take", "away", "drained", "janitor"]),
        ),
        max_size=40,
    ),
)
def test_nobody_gets_more_than_its_burst_and_its_rate_of_all_the_time_there_was(
    rate: int, burst: int, steps: list[tuple[int, str]]
) -> None:
    """A greedy device takes all it can get at every occasion, and the janitor forgets what it may."""
    limiter = limiter_of(rate=rate, burst=burst, bucket_ttl=1, max_tracked_devices=1)
    now = total = 0
    for duration, what in steps:
        now += duration
        if what == "away":
            limiter.credit(duration / SECOND, now / SECOND)
        elif what == "drained":
            limiter.backlog_drained()
        elif what == "janitor":
            while not limiter.sweep(now / SECOND).done:
                pass
        while limiter.take(bucket_key("acme", "greedy"), now / SECOND) is None:
            total += 1
        assert total <= burst + rate * now / SECOND


@given(away=st.integers(1, 100_000), since=st.integers(0, 1000), rate=st.sampled_from([1, 10, 50]))
@settings(max_examples=soak.times(20), deadline=None)
def test_credit_is_the_whole_outage_and_not_one_message_more(away: int, since: int, rate: int) -> None:
    limiter = limiter_of(rate=rate, burst=50)
    limiter.credit(away, away)
    state = limiter.effective("acme", "new", away + since)
    assert state.fill == 50 + rate * (away + since)
