"""What the stream tells its parts of time in which no messages were taken."""

from appliance.devices.live.state_book import StateBook
from appliance.supervisor.stream import UNKNOWN_ABSENCE, away_before_start, note_absence
from tests.support.clock import DoubtfulClock
from tests.support.people import StillClock


def test_an_absence_is_told_to_limits_and_presence_and_no_interval_is_learned_across_it() -> None:
    told: list[float] = []
    states, clock = StateBook(10), StillClock()
    away = note_absence([told.append, told.append], states, clock)
    away(0.1)
    assert states.unbroken_since == 0, "a wait that nobody notices is no absence"
    away(60.0)
    assert states.unbroken_since == round(clock.now() * 1e6)
    assert told == [0.1, 0.1, 60.0, 60.0]


def test_an_absence_of_unknown_length_is_credited_with_a_day() -> None:
    clock = DoubtfulClock(1_000_000.0, 0.0)
    assert away_before_start(clock, 999_990.0) == UNKNOWN_ABSENCE
    assert away_before_start(clock, 1_000_000.0 - 3 * UNKNOWN_ABSENCE) == 3 * UNKNOWN_ABSENCE
    assert away_before_start(clock, None) == 0
    clock.trusted = True
    assert away_before_start(clock, 999_990.0) == 10
