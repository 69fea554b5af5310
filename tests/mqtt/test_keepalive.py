"""Claims about pings and silence."""

import math

from appliance.mqtt.keepalive import Due, KeepAlive


def test_switched_off_it_never_asks_for_anything() -> None:
    keep_alive = KeepAlive(0, 0, 0)
    assert keep_alive.next_deadline() == math.inf
    assert keep_alive.due(1e9) is Due.NOTHING


def test_a_ping_is_due_when_nothing_was_sent_for_an_interval() -> None:
    keep_alive = KeepAlive(10, 100, 100)
    keep_alive.received(105)
    assert keep_alive.due(109.9) is Due.NOTHING
    assert keep_alive.due(110) is Due.PING


def test_a_ping_is_due_when_nothing_was_heard_although_we_keep_sending() -> None:
    keep_alive = KeepAlive(10, 100, 100)
    keep_alive.sent(109)
    assert keep_alive.due(110) is Due.PING


def test_silence_of_one_and_a_half_intervals_is_death() -> None:
    keep_alive = KeepAlive(10, 100, 100)
    keep_alive.pinged(110)
    assert keep_alive.next_deadline() == 115
    assert keep_alive.due(114.9) is Due.NOTHING
    assert keep_alive.due(115) is Due.DEAD


def test_a_ping_that_went_out_late_still_has_half_an_interval_for_its_answer() -> None:
    keep_alive = KeepAlive(10, 100, 100)
    keep_alive.pinged(130)
    assert keep_alive.due(134.9) is Due.NOTHING
    assert keep_alive.due(135) is Due.DEAD


def test_any_byte_is_an_answer() -> None:
    keep_alive = KeepAlive(10, 100, 100)
    keep_alive.pinged(110)
    keep_alive.received(111)
    assert keep_alive.due(119.9) is Due.NOTHING
    assert keep_alive.due(120) is Due.PING


def test_one_ping_at_a_time() -> None:
    keep_alive = KeepAlive(10, 100, 100)
    keep_alive.pinged(110)
    assert keep_alive.due(112) is Due.NOTHING
