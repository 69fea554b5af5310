from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.service_clock.service_time import (
    FAR_AHEAD,
    TOLERANCE,
    Cause,
    Doubt,
    Instant,
    Readings,
    Recorded,
    ServiceTime,
    start,
)

BUILD = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
NOW = datetime(2027, 5, 1, 12, tzinfo=UTC).timestamp()
HOUR, DAY, YEAR = 3600.0, 86_400.0, 365 * 86_400.0
BOOT, OTHER_BOOT = "boot-1", "boot-2"


def readings(wall: float, elapsed: float = 1000.0, *, synchronised: bool = False) -> Readings:
    return Readings(wall, elapsed, synchronised)


def recorded(time: float, elapsed: float = 1000.0, boot: str = BOOT, doubt: Doubt | None = None) -> Recorded:
    return Recorded(Instant(time, elapsed, boot), doubt)


def started(wall: float, record: Recorded | None = None, newest: float | None = None) -> ServiceTime:
    return start(readings(wall), BOOT, record, newest, build=BUILD)


@pytest.mark.parametrize(
    ("wall", "record", "newest", "cause"),
    [
        pytest.param(0.0, None, None, Cause.BEFORE_BUILD, id="1970 on a new appliance"),
        pytest.param(BUILD - 1, None, None, Cause.BEFORE_BUILD, id="the day before the build"),
        pytest.param(BUILD, None, None, None, id="the day of the build"),
        pytest.param(NOW + 10 * YEAR, None, None, None, id="a new appliance knows nothing better"),
        pytest.param(0.0, recorded(NOW), NOW, Cause.BEFORE_BUILD, id="1970"),
        pytest.param(NOW - HOUR, None, NOW, Cause.BEHIND, id="an hour behind the newest receipt"),
        pytest.param(NOW - TOLERANCE, None, NOW, None, id="ten minutes behind it"),
        pytest.param(NOW - TOLERANCE - 1, None, NOW, Cause.BEHIND, id="more than ten minutes behind it"),
        pytest.param(NOW - HOUR, recorded(NOW, boot=OTHER_BOOT), None, Cause.BEHIND, id="behind the record"),
        pytest.param(NOW + FAR_AHEAD, None, NOW, None, id="off for thirty days"),
        pytest.param(NOW + FAR_AHEAD + 1, None, NOW, Cause.AHEAD, id="more than thirty days ahead"),
        pytest.param(NOW + 10 * YEAR, recorded(NOW, boot=OTHER_BOOT), NOW, Cause.AHEAD, id="ten years ahead"),
        pytest.param(
            NOW + 40 * DAY, recorded(NOW + 39 * DAY, 1.0, OTHER_BOOT), NOW, None, id="39 days without messages"
        ),
        pytest.param(NOW + HOUR, recorded(NOW), NOW, Cause.OFF, id="the same boot: an hour ahead is known to be wrong"),
        pytest.param(NOW - HOUR, recorded(NOW), NOW, Cause.OFF, id="the same boot: an hour back"),
        pytest.param(NOW + HOUR, recorded(NOW, boot=OTHER_BOOT), NOW, None, id="another boot: it was off for an hour"),
        pytest.param(
            NOW, recorded(NOW), NOW + 9 * YEAR, None, id="trusted on this boot, whatever was received"
        ),
        pytest.param(
            NOW + HOUR, recorded(NOW, doubt=Doubt(Cause.AHEAD, NOW)), NOW, Cause.AHEAD, id="a doubt outlives a restart"
        ),
    ],
)  # fmt: skip
def test_a_start_doubts_the_wall_clock_for_a_cause(
    wall: float, record: Recorded | None, newest: float | None, cause: Cause | None
) -> None:
    time = started(wall, record, newest)
    assert (None if time.doubt is None else time.doubt.cause) is cause
    if cause is None:
        assert time.at(wall, 1000) == wall
        return
    known = [
        moment for moment in (BUILD, newest, None if record is None else record.instant.time) if moment is not None
    ]
    assert time.at(wall, 1000) == max(known), "in doubt, service time goes on from the newest that is known"


def test_on_the_same_boot_service_time_goes_on_exactly() -> None:
    record = recorded(NOW, elapsed=1000, doubt=Doubt(Cause.OFF, NOW - HOUR))
    time = start(readings(NOW + DAY, elapsed=1042), BOOT, record, None, build=BUILD)
    assert time.at(NOW + DAY, 1042) == NOW + 42
    assert time.settled(NOW + DAY, 1042) == NOW - HOUR, "what stands still does not move by a restart"


def test_without_a_boot_id_no_boot_is_the_same() -> None:
    assert Instant(NOW, 1000, "").after(1001, "") is None
    assert Instant(NOW, 1000, BOOT).after(999, BOOT) is None


def test_a_synchronised_kernel_is_believed_at_the_start_but_not_before_the_build() -> None:
    far = readings(NOW + YEAR, synchronised=True)
    assert start(far, BOOT, recorded(NOW), NOW, build=BUILD).doubt is None
    assert start(readings(0, synchronised=True), BOOT, None, None, build=BUILD).doubt is not None


def test_service_time_follows_the_wall_clock_up_to_ten_minutes() -> None:
    time = started(NOW)
    assert time.at(NOW + TOLERANCE, 1000) == NOW + TOLERANCE
    assert time.at(NOW - TOLERANCE, 1000) == NOW - TOLERANCE
    assert time.doubt is None
    assert time.observe(readings(NOW + TOLERANCE, 1000)) is None
    assert time.at(NOW + 2 * TOLERANCE, 1000) == NOW + 2 * TOLERANCE, "from where it was seen last"


@pytest.mark.parametrize("wall", [0.0, NOW - HOUR, NOW + HOUR, NOW + 10 * YEAR, NOW + TOLERANCE + 5.001])
def test_a_jump_is_doubted_at_once_and_service_time_runs_on(wall: float) -> None:
    time = started(NOW)
    assert time.at(wall, 1005) == NOW + 5
    assert time.doubt == Doubt(Cause.BEFORE_BUILD if wall < BUILD else Cause.OFF, NOW + 5)
    assert time.at(wall + 7200, 1005 + 7200) == NOW + 7205
    assert time.settled(wall + 7200, 1005 + 7200) == NOW + 5
    assert time.observe(readings(wall + 7200, 1005 + 7200)) is None


def test_doubt_ends_when_the_clocks_agree() -> None:
    time = started(NOW)
    time.at(NOW - HOUR, 1000)
    step = time.observe(readings(NOW + 100 + TOLERANCE, 1100))
    assert step is not None
    assert (step.since, step.before, step.after) == (NOW, NOW + 100, NOW + 100 + TOLERANCE)
    assert time.doubt is None


def test_doubt_ends_when_the_kernel_is_synchronised_and_service_time_steps() -> None:
    time = started(NOW - 14 * HOUR, newest=NOW)
    assert time.observe(readings(NOW - 14 * HOUR + 10, 1010)) is None
    step = time.observe(readings(NOW + 3 * HOUR, 1020, synchronised=True))
    assert step is not None
    assert (step.before, step.after) == (NOW + 20, NOW + 3 * HOUR)
    assert time.at(NOW + 3 * HOUR + 1, 1021) == NOW + 3 * HOUR + 1


def test_no_clock_before_the_build_is_ever_trusted() -> None:
    time = started(NOW)
    time.at(0, 1000)
    assert time.observe(readings(0, 1001, synchronised=True)) is None
    assert time.confirm(Instant(0, 1001, BOOT), 0, 1001) is None
    assert time.doubt is not None


@pytest.mark.parametrize(
    ("confirmed", "wall", "ends"),
    [
        pytest.param(Instant(NOW + YEAR, 1100, BOOT), NOW + YEAR + 60, True, id="the same clock"),
        pytest.param(Instant(NOW + YEAR, 1100, BOOT), NOW + 2 * YEAR, False, id="set again since"),
        pytest.param(Instant(NOW + YEAR, 1100, BOOT), NOW + YEAR - HOUR, False, id="set back since"),
        pytest.param(Instant(NOW + YEAR, 1100, OTHER_BOOT), NOW + YEAR + DAY, True, id="before a reboot"),
        pytest.param(Instant(NOW + YEAR, 1100, OTHER_BOOT), NOW + YEAR + 2 * FAR_AHEAD, False, id="long before one"),
        pytest.param(Instant(NOW + YEAR, 1100, OTHER_BOOT), NOW, False, id="before a reboot that set it back"),
    ],
)
def test_doubt_ends_for_the_wall_clock_that_was_confirmed(confirmed: Instant, wall: float, ends: bool) -> None:
    time = started(NOW, newest=NOW - 50 * DAY)
    time.at(NOW + YEAR, 1000)
    step = time.confirm(confirmed, wall, 1160)
    assert (step is not None) is ends
    assert (time.doubt is None) is ends


def test_a_trusted_clock_needs_no_confirmation() -> None:
    time = started(NOW)
    assert time.confirm(Instant(NOW, 1000, BOOT), NOW, 1000) is None


MOVES = st.lists(
    st.tuples(
        st.floats(0, 7200),
        st.one_of(st.floats(-1200, 1200), st.sampled_from([-HOUR, HOUR, 10 * YEAR, -10 * YEAR, -NOW])),
        st.booleans(),
        st.booleans(),
    ),
    max_size=30,
)


@given(MOVES)
def test_service_time_never_steps_while_in_doubt(moves: list[tuple[float, float, bool, bool]]) -> None:
    time, wall, elapsed = started(NOW, newest=NOW), NOW, 1000.0
    for passes, jump, synchronised, looks in moves:
        before, was = time.at(wall, elapsed), time.doubt
        anchor = time.settled(wall, elapsed)
        wall, elapsed = wall + passes + jump, elapsed + passes
        step = time.observe(readings(wall, elapsed, synchronised=synchronised)) if looks else None
        after = time.at(wall, elapsed)
        if time.doubt is not None:
            assert after == pytest.approx(before + passes), "in doubt it runs by the time since boot"
        if was is not None and time.doubt is not None:
            assert time.settled(wall, elapsed) == anchor
        if step is None:
            assert after >= before + passes - 2 * TOLERANCE - 1e-3, "it goes back by no more than it follows"
        else:
            assert (step.after, time.doubt) == (wall, None)
            assert synchronised or abs(step.after - step.before) <= TOLERANCE
        assert after >= BUILD
