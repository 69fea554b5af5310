"""The service that has a backup made every night: what became of it is known, whatever the process says or does not."""

import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import msgspec
import pytest
import trio

from appliance.backup import nightly
from appliance.backup.nightly import UNFINISHED, Nightly, Settings
from appliance.backup.record import Attempt, GoodBackup, Record, read_record, write_record
from appliance.backup.schedule import DAY_SECONDS, SETTLE_SECONDS, Slots
from appliance.children.process import Command
from appliance.errors import Conflict
from appliance.metrics import Metrics
from tests.support.clock import TrustedClock

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Clock(TrustedClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at, self.elapsed, self.trusted = NOON, 1000.0, True

    def now(self) -> float:
        return self.at.timestamp()

    def monotonic(self) -> float:
        return self.elapsed


def made(at: datetime) -> Record:
    return Record(since=at, last=Attempt(at, at), good=GoodBackup("/b/f.age", at, 1000, 2.5))


def service(folder: Path, script: str, clock: Clock, metrics: Metrics | None = None) -> Nightly:
    command = Command("backup", ("sh", "-c", script), stop_signal=signal.SIGINT, stop_seconds=2.0)
    settings = Settings(folder / "backups", 7, Slots(time(2, 30), UTC))
    return Nightly(command, settings, folder, clock, metrics or Metrics())


def noting(folder: Path, record: Record) -> str:
    """A script that ends as the command does after a backup: with its record."""
    return f"printf %s {shlex.quote(msgspec.json.encode(record).decode())} > {folder}/backups.json"


@asynccontextmanager
async def running(one: Nightly) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        yield
        nursery.cancel_scope.cancel()


async def until(condition: str, one: Nightly) -> None:
    with trio.fail_after(30):
        while not getattr(one.state(), condition):
            await trio.sleep(0.01)


async def test_what_is_asked_for_is_made_and_known(tmp_path: Path) -> None:
    write_record(tmp_path, made(NOON - timedelta(hours=8)))
    metrics = Metrics()
    one = service(tmp_path, noting(tmp_path, made(NOON)), Clock(), metrics)
    assert one.state().next_at == (NOON + timedelta(hours=14, minutes=30)).timestamp()
    async with running(one):
        one.ask()
        with trio.fail_after(30):
            while one.state().good_at != NOON.timestamp():
                await trio.sleep(0.01)
    text = metrics.exposition().decode()
    assert "appliance_backup_last_success_timestamp_seconds 1.773144e+09" in text
    assert 'appliance_backups_total{result="ok"} 1.0' in text
    assert one.trouble() is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error: the disk is full' >&2; exit 1", "the disk is full"),
        ("kill -9 $$", "its process ended: SIGKILL"),
        ("exit 3", "its process ended: exit code 3"),
    ],
)
async def test_a_failure_is_known_with_its_reason_and_ends_with_a_good_one(
    tmp_path: Path, script: str, reason: str
) -> None:
    write_record(tmp_path, made(NOON - timedelta(hours=8)))
    one = service(tmp_path, script, Clock())
    async with running(one):
        one.ask()
        await until("last_error", one)
        assert one.state().last_error == reason
        trouble = one.trouble()
        assert trouble is not None
        assert trouble.cause == reason
    assert read_record(tmp_path).last == Attempt(NOON, NOON, reason)
    write_record(tmp_path, made(NOON))
    assert service(tmp_path, "true", Clock()).trouble() is None


async def test_only_one_is_made_at_a_time_and_it_ends_with_the_service(tmp_path: Path) -> None:
    write_record(tmp_path, made(NOON - timedelta(hours=8)))
    gone = tmp_path / "gone"
    script = f"trap 'touch {gone}; exit 1' INT; touch {tmp_path}/begun; while :; do sleep 0.05; done"
    one = service(tmp_path, script, Clock())
    async with running(one):
        one.ask()
        with pytest.raises(Conflict):
            one.ask()
        with trio.fail_after(30):
            while not (tmp_path / "begun").exists():
                await trio.sleep(0.01)
        assert one.state().running
        with pytest.raises(Conflict):
            one.ask()
    assert gone.exists(), "it was asked to end, and so could remove what it had written"


async def test_a_night_that_was_missed_is_made_up_for_once_the_start_has_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nightly, "LOOK_SECONDS", 0.01)
    write_record(tmp_path, made(NOON - timedelta(days=1)))
    clock = Clock()
    one = service(tmp_path, noting(tmp_path, made(NOON)), clock)
    assert not one.is_due()
    async with running(one):
        clock.elapsed += SETTLE_SECONDS
        with trio.fail_after(30):
            while one.state().good_at != NOON.timestamp():
                await trio.sleep(0.01)


async def test_in_doubt_of_the_clock_only_what_has_elapsed_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nightly, "LOOK_SECONDS", 0.01)
    write_record(tmp_path, made(NOON - timedelta(days=9)))
    clock = Clock()
    clock.trusted = False
    one = service(tmp_path, noting(tmp_path, made(NOON)), clock)
    assert one.state().next_at is None
    assert one.trouble() is None, "how old the last one is nobody knows"
    async with running(one):
        clock.elapsed += DAY_SECONDS - 1
        assert not one.is_due()
        clock.elapsed += 1
        with trio.fail_after(30):
            while one.state().good_at != NOON.timestamp():
                await trio.sleep(0.01)


def test_two_days_without_a_good_one_are_trouble_and_so_is_one_that_was_killed(tmp_path: Path) -> None:
    write_record(tmp_path, made(NOON - timedelta(days=2, minutes=1)))
    trouble = service(tmp_path, "true", Clock()).trouble()
    assert trouble is not None
    assert trouble.cause == "none was made for two days"
    write_record(tmp_path, Record(since=NOON, last=Attempt(NOON, None)))
    trouble = service(tmp_path, "true", Clock()).trouble()
    assert trouble is not None
    assert trouble.cause == UNFINISHED


def test_a_first_start_with_a_folder_is_noted_so_that_two_days_count_from_it(tmp_path: Path) -> None:
    service(tmp_path, "true", Clock())
    assert read_record(tmp_path).since == NOON
    (tmp_path / "backups.json").write_text("{damaged")
    assert service(tmp_path, "true", Clock()).state().last_error is None
