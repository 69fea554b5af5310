"""A start on a full disk: it waits and says so once, and what found no room is done anew."""

import errno
from collections.abc import Callable

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from appliance.disk.levels import MIB, Room
from appliance.errors import ApplianceError
from appliance.supervisor import room as rooms
from appliance.supervisor.room import persist, some_room


class Disk:
    """A disk of which a test says how much is free."""

    def __init__(self, free: int, files: int = 0, free_files: int = 0) -> None:
        self.room = Room(260 * MIB, free, files, free_files)
        self.full: str | None = None
        self.looks: list[Callable[[], None]] = []

    def look(self) -> str | None:
        if self.looks:
            self.looks.pop(0)()
        return self.full


def migration_without_room() -> ApplianceError:
    error = ApplianceError("migration 0007 failed, the schema is as before it")
    error.__cause__ = psycopg.errors.DiskFull()
    return error


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(rooms, "AGAIN_SECONDS", 0.001)


@pytest.mark.parametrize(
    "short", [Disk(MIB), Disk(100 * MIB, files=10_000, free_files=2)], ids=["no bytes", "no inodes"]
)
async def test_a_start_waits_for_some_room_and_says_so_once(short: Disk) -> None:
    enough = Disk(100 * MIB, 10_000, 5_000).room
    short.looks = [lambda: None, lambda: None, lambda: setattr(short, "room", enough)]
    with capture_logs() as logs, trio.fail_after(60):
        await some_room(short)  # type: ignore[arg-type]
    assert [entry["event"] for entry in logs] == ["the start waits for room on the disk"]


async def test_with_room_nothing_is_said() -> None:
    with capture_logs() as logs:
        await some_room(Disk(100 * MIB))  # type: ignore[arg-type]
    assert logs == []


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (psycopg.errors.DiskFull(), None),
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (psycopg.OperationalError("the connection is closed"), "the disk is full"),
        (migration_without_room(), None),
    ],
)
async def test_what_finds_no_room_is_done_anew(error: Exception, full: str | None) -> None:
    disk, tries = Disk(0), []
    disk.full = full

    async def work() -> str:
        await trio.lowlevel.checkpoint()
        tries.append(1)
        if len(tries) < 3:
            raise error
        return "done"

    with capture_logs() as logs, trio.fail_after(60):
        assert await persist(disk, work, what="schema") == "done"  # type: ignore[arg-type]
    assert len(tries) == 3
    assert [entry["what"] for entry in logs] == ["schema", "schema"]


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection is closed"),
        psycopg.errors.UndefinedTable(),
        OSError(errno.EACCES, "Permission denied"),
        ApplianceError("the database is newer than this program"),
    ],
)
async def test_any_other_error_ends_the_start(error: Exception) -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    with pytest.raises(type(error)):
        await persist(Disk(100 * MIB), work, what="schema")  # type: ignore[arg-type]
