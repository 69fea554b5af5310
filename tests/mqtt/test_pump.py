"""How long bytes are left with the kernel while messages wait. (What else a pump does, the client's tests show.)"""

import pytest

from appliance.mqtt.pump import MAX_READ_DELAY, MIN_READ_DELAY, WANTED_BYTES, next_delay

KERNEL_HOLDS = 36_000
"""Bytes of small messages in a Unix socket, before its writer has to wait."""


def settled(bytes_a_second: float) -> tuple[float, float]:
    """How long is gathered, and how much, once a steady stream has gone on for a while."""
    seconds = MAX_READ_DELAY
    for _ in range(20):
        seconds = next_delay(seconds, round(min(bytes_a_second * seconds, KERNEL_HOLDS)))
    return seconds, bytes_a_second * seconds


@pytest.mark.parametrize("rate", [3e6, 6e6, 12e6, 25e6, 50e6])
def test_a_broker_never_waits_for_a_reader_that_gathers(rate: float) -> None:
    seconds, size = settled(rate)
    assert MIN_READ_DELAY <= seconds <= MAX_READ_DELAY
    assert WANTED_BYTES / 2 <= size <= WANTED_BYTES < KERNEL_HOLDS


@pytest.mark.parametrize(("rate", "expected"), [(1e3, MAX_READ_DELAY), (1e9, MIN_READ_DELAY)])
def test_it_gathers_neither_longer_nor_shorter_than_is_worth_it(rate: float, expected: float) -> None:
    assert settled(rate)[0] == expected


def test_it_follows_a_stream_that_changes() -> None:
    fast, _ = settled(50e6)
    assert next_delay(fast, 100) == 2 * fast
