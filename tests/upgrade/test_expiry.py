"""Copies of before an upgrade go by their age, but not while the program that came with it may still fail."""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from appliance.upgrade import expiry
from appliance.upgrade.copies import FOLDER, KEPT_FOR, find, name_of
from tests.support.clock import DoubtfulClock, TrustedClock

AT = datetime(2026, 5, 1, 3, 15, 2, tzinfo=UTC)


async def in_place(work: Callable[..., Any], *arguments: Any, abandon_on_cancel: bool) -> Any:
    """Do it here: the clock would jump ahead of a thread."""
    assert abandon_on_cancel
    return work(*arguments)


async def test_one_goes_once_the_program_has_run_for_a_while_and_the_clock_is_sure(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - jumps
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / FOLDER / name_of(37, 40, AT)
    copy.parent.mkdir()
    copy.touch()
    os.utime(copy, (AT.timestamp(), AT.timestamp()))
    monkeypatch.setattr(trio.to_thread, "run_sync", in_place)
    now = (AT + KEPT_FOR + timedelta(days=1)).timestamp()
    clock = DoubtfulClock(now, now, trusted=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(expiry.run, tmp_path, clock)
        await trio.sleep(expiry.CHECK_SECONDS - 1)
        assert copy.exists(), "this program may still end as its predecessor did"
        clock.trusted = False
        await trio.sleep(2)
        assert copy.exists()
        clock.trusted = True
        await trio.sleep(expiry.CHECK_SECONDS)
        assert not copy.exists()
        nursery.cancel_scope.cancel()


class SteppingClock(TrustedClock):
    """A clock of a machine without a battery: it goes on from its last run until it has asked for the time."""

    def __init__(self, at: float) -> None:
        self._offset = at - trio.current_time()

    def now(self) -> float:
        return trio.current_time() + self._offset

    def wall(self) -> float:
        return self.now()

    def monotonic(self) -> float:
        return trio.current_time()

    def step(self, seconds: float) -> None:
        self._offset += seconds


async def test_a_clock_that_steps_over_months_takes_no_copy_along(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - jumps
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / FOLDER / name_of(37, 40, AT)
    copy.parent.mkdir()
    copy.touch()
    monkeypatch.setattr(trio.to_thread, "run_sync", in_place)
    clock = SteppingClock(AT.timestamp())
    [found] = find(tmp_path)
    found.keep_from(None)
    async with trio.open_nursery() as nursery:
        await nursery.start(expiry.run, tmp_path, clock)
        for _ in range(3):
            await trio.sleep(expiry.CHECK_SECONDS + 1)
            clock.step(10 * KEPT_FOR.total_seconds())
        await trio.sleep(KEPT_FOR.total_seconds() - 3 * expiry.CHECK_SECONDS)
        assert copy.exists()
        await trio.sleep(3 * expiry.CHECK_SECONDS)
        assert not copy.exists()
        nursery.cancel_scope.cancel()


async def test_a_disk_that_hangs_lets_the_process_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, back = threading.Event(), threading.Event()

    def hang(*_arguments: object) -> list[Path]:
        hangs.set()
        back.wait(10)
        return []

    monkeypatch.setattr(expiry, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(expiry, "prune_old", hang)
    try:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                await nursery.start(expiry.run, tmp_path, SteppingClock(AT.timestamp()))
                await trio.to_thread.run_sync(hangs.wait)
                nursery.cancel_scope.cancel()
        assert not back.is_set()
    finally:
        back.set()
