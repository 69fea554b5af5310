"""For how long a user is shut out of the broker for a flood."""

from appliance.broker.floods.record import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    MAX_USERS,
    MEMORY_SECONDS,
    FloodCause,
    FloodRecord,
)
from appliance.broker.shut_out import ShutOut
from appliance.metrics import Metrics
from tests.support.clock import DoubtfulClock


def a_record() -> tuple[FloodRecord, ShutOut, DoubtfulClock]:
    clock = DoubtfulClock(1e9, 1e9)
    shut_out = ShutOut(clock)
    return FloodRecord(shut_out, clock, Metrics()), shut_out, clock


def test_each_further_time_is_twice_as_long_up_to_an_hour() -> None:
    users, shut_out, clock = a_record()
    lasted = []
    for _ in range(6):
        users.catch("acme", FloodCause.RETAINED, "left too much")
        end = shut_out.seconds_until_change()
        assert end is not None
        lasted.append(end)
        clock.at += end + 1
        assert not users.is_out("acme")
    assert lasted == [FIRST_SECONDS * factor for factor in (1, 2, 4, 8)] + [LONGEST_SECONDS] * 2
    clock.at += MEMORY_SECONDS
    users.catch("acme", FloodCause.RETAINED, "left too much")
    assert shut_out.seconds_until_change() == FIRST_SECONDS


def test_who_is_out_stays_out_no_longer_for_being_caught_again() -> None:
    users, shut_out, clock = a_record()
    heard: list[int] = []
    shut_out.on_change(lambda: heard.append(1))
    for _ in range(5):
        users.catch("acme", FloodCause.RETAINED, "left too much")
        clock.at += FIRST_SECONDS / 10
    assert shut_out.seconds_until_change() == FIRST_SECONDS / 2
    assert heard == [1]


def test_each_tenant_sees_its_own_users() -> None:
    users, shut_out, clock = a_record()
    users.catch("acme", FloodCause.RETAINED, "left too much")
    users.catch("other/device/d1", FloodCause.RETAINED, "left more")
    assert [one.user for one in users.current()] == ["other/device/d1", "acme"]
    assert [one.user for one in users.current("acme")] == ["acme"]
    assert [one.user for one in users.current("other")] == ["other/device/d1"]
    assert shut_out.users() == {"acme", "other/device/d1"}
    [one] = users.current("acme")
    assert (one.at, one.until) == (clock.at, clock.at + FIRST_SECONDS)


def test_however_many_are_caught_only_so_many_are_remembered() -> None:
    users, _, _ = a_record()
    for number in range(2 * MAX_USERS):
        users.catch(f"t{number}", FloodCause.RETAINED, "left too much")
    assert len(users.current()) == MAX_USERS
