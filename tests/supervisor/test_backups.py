"""What the supervisor tells pages of kept copies: a disk that hangs takes neither the page's time nor the threads."""

import threading
from pathlib import Path

import pytest
import trio

from appliance.clock import SystemClock
from appliance.offboarding.kept_copies import CopyPlaces
from appliance.supervisor import backups
from appliance.supervisor.backups import ReadableCopies

QUESTIONS = 45
"""More than there are threads for all that the process does."""


async def test_a_disk_that_hangs_takes_one_thread_however_often_a_page_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = threading.Event()
    monkeypatch.setattr(backups, "COPIES_SECONDS", 0.01)
    monkeypatch.setattr(backups, "kept_copies", lambda *_arguments: back.wait(10))
    copies, told = ReadableCopies(CopyPlaces(tmp_path, "0123456789ab", None, 7), SystemClock()), []

    async def ask() -> None:
        told.append(await copies.read())

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(QUESTIONS):
                nursery.start_soon(ask)
        assert told == [None] * QUESTIONS
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    finally:
        back.set()
