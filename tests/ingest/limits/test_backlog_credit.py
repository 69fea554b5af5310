"""How long a backlog lasts, for those that must not take it for a flood."""

from appliance.ingest.limits.backlog import CALM_LOOKS, LONGEST, RETURNING, BacklogCredit
from tests.support.clock import DoubtfulClock
from tests.support.limiter import limiter_of


def test_a_backlog_lasts_from_the_first_absence_until_it_is_drained() -> None:
    clock = DoubtfulClock(1e9, 1e9)
    backlog = BacklogCredit(limiter_of(rate=10, burst=50), clock, 100)
    assert backlog.lasting == 0
    backlog.away(600)
    clock.at += 30
    backlog.away(5)
    assert backlog.lasting == 630
    clock.at += RETURNING
    for _ in range(CALM_LOOKS):
        backlog.look(0)
    assert backlog.lasting == 0
    backlog.away(2 * LONGEST)
    assert backlog.lasting == LONGEST
