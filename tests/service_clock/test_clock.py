"""The service clock of a process: its record, its start in two phases, and whom it tells."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from appliance.service_clock import record
from appliance.service_clock.build_date import BUILD_DATE
from appliance.service_clock.clock import ServiceClock
from appliance.service_clock.machine import SYNCHRONISED_VARIABLE, Machine, kernel_synchronised, this_machine
from appliance.service_clock.service_time import Cause, Doubt, Instant, Recorded, Step
from tests.support.project import ROOT

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86_400.0


@dataclass
class Hands:
    """The clocks of a machine, as a test sets them."""

    wall: float = NOW
    elapsed: float = 1000.0
    synchronised: bool = False
    boot_id: str = "boot"
    told: list[Step | None] = field(default_factory=list)

    def machine(self) -> Machine:
        return Machine(lambda: self.wall, lambda: self.elapsed, lambda: self.synchronised, self.boot_id)

    def clock(self, folder: Path) -> ServiceClock:
        made = ServiceClock(folder, self.machine())
        made.subscribe(self.told.append)
        return made

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds


def test_a_restart_goes_on_from_the_record(tmp_path: Path) -> None:
    hands = Hands()
    record.write(tmp_path, Recorded(Instant(NOW, 1000, "boot"), None))
    hands.pass_time(30)
    hands.wall += 10 * 365 * DAY
    clock = hands.clock(tmp_path)
    assert (clock.now(), clock.trusted) == (NOW + 30, False)
    assert clock.doubt == Doubt(Cause.OFF, NOW + 30)


def test_the_second_phase_adds_what_was_received_and_what_was_confirmed(tmp_path: Path) -> None:
    hands = Hands(wall=NOW - 14 * HOUR)
    clock = hands.clock(tmp_path)
    assert clock.trusted, "nothing is known yet"
    assert clock.settle_start(NOW, None) is None
    assert (clock.now(), clock.doubt) == (NOW, Doubt(Cause.BEHIND, NOW))
    step = clock.settle_start(NOW, Instant(hands.wall, hands.elapsed, "boot"))
    assert step == Step(NOW, NOW, NOW - 14 * HOUR)
    assert (clock.now(), clock.trusted) == (hands.wall, True)


def test_it_tells_once_when_a_doubt_begins_and_once_when_it_ends(tmp_path: Path) -> None:
    hands = Hands()
    clock = hands.clock(tmp_path)
    clock.look()
    with capture_logs() as logs:
        hands.wall += DAY
        assert not clock.trusted, "at once"
        for _ in range(3):
            clock.look()
        hands.synchronised = True
        for _ in range(3):
            clock.look()
    assert hands.told == [None, Step(NOW, NOW, NOW + DAY)]
    assert [line["event"] for line in logs] == ["the clock is in doubt", "the clock is trusted again"]


def test_a_jump_there_and_back_within_a_second_is_told_by_its_end(tmp_path: Path) -> None:
    hands = Hands()
    clock = hands.clock(tmp_path)
    hands.wall += DAY
    assert not clock.trusted
    hands.wall -= DAY
    clock.look()
    assert hands.told == [Step(NOW, NOW, NOW)]


def test_what_was_confirmed_for_another_wall_clock_ends_nothing(tmp_path: Path) -> None:
    hands = Hands()
    clock = hands.clock(tmp_path)
    hands.wall += DAY
    confirmed = clock.wall_instant()
    hands.wall += DAY
    assert clock.confirm(confirmed) is None
    assert not clock.trusted
    assert clock.confirm(clock.wall_instant()) is not None
    assert clock.trusted


async def test_it_keeps_its_record_every_ten_seconds_and_at_the_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del autojump_clock
    hands = Hands()
    monkeypatch.setattr(ServiceClock, "monotonic", lambda _self: hands.elapsed)
    clock = hands.clock(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(clock.run)
        assert record.read(tmp_path) == Recorded(Instant(NOW, 1000, "boot"), None)
        hands.pass_time(9)
        await trio.sleep(1.5)
        assert record.read(tmp_path) == Recorded(Instant(NOW, 1000, "boot"), None)
        hands.pass_time(2)
        await until(lambda: record.read(tmp_path) == Recorded(Instant(NOW + 11, 1011, "boot"), None))
        hands.wall += DAY
        doubt = Doubt(Cause.OFF, NOW + 11)
        await until(lambda: record.read(tmp_path) == Recorded(Instant(NOW + 11, 1011, "boot"), doubt))
        hands.pass_time(1)
        nursery.cancel_scope.cancel()
    assert record.read(tmp_path) == Recorded(Instant(NOW + 12, 1012, "boot"), doubt)


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(1000):
        while not holds():
            await trio.sleep(0.5)


async def test_a_full_disk_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "write", full)
    clock = Hands().clock(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(clock.run)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("content", [b"", b"{", b'{"service_time": "x"}', b"\xff"])
def test_a_damaged_record_counts_as_none_and_is_logged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / record.NAME).write_bytes(content)
    with capture_logs() as logs:
        assert record.read(tmp_path) is None
    assert [line["log_level"] for line in logs] == ["warning"]


def test_the_kernel_is_asked_without_a_right_and_tests_may_take_its_place(tmp_path: Path) -> None:
    assert kernel_synchronised() in (True, False)
    stand_in = tmp_path / "synchronised"
    machine = this_machine({SYNCHRONISED_VARIABLE: str(stand_in)})
    assert machine.readings().synchronised is False
    stand_in.touch()
    assert machine.readings().synchronised is True
    assert machine.boot_id == this_machine(os.environ).boot_id != ""


def test_the_build_date_is_no_later_than_today_and_no_earlier_than_the_newest_release() -> None:
    releases = [
        line.split(" - ")[1].strip()
        for line in (ROOT / "CHANGELOG.md").read_text().splitlines()
        if line.startswith("## [") and " - " in line
    ]
    assert datetime.now(UTC) + timedelta(days=1) >= BUILD_DATE
    assert all(datetime.fromisoformat(f"{release}T00:00:00+00:00") <= BUILD_DATE for release in releases)
