"""When a disk is low, full, and not full any more. Pure: what was measured is a parameter.

Theory. Postgres that meets the end of the disk in its own log stops, and does not start again without room. So nobody
may come so far: below ``full`` bytes the disk counts as full, ingest holds what it has, and the reserve is given back,
which is room for all that goes on: sign-ins, pages, changes by people, a save of the broker's queue, a restart of
Postgres. What was given back is owed: the disk is full until it can be taken again with room to spare, or else each
batch would fill the disk anew.

    ok ---- free < low ---------------------> low
    low --- free >= low_over ---------------> ok
    any --- free < full --------------------> full      the reserve is given back
    full -- free - owed >= full_over -------> low, ok   the reserve is taken again

Bytes and inodes are judged apart, by the same table, and the worse of the two is the state of the disk.
"""

from dataclasses import dataclass
from enum import IntEnum

MIB = 1024 * 1024

LEAST_RESERVE, MOST_RESERVE = 32 * MIB, 64 * MIB
"""Bytes. The least is some segments of Postgres's log, a checkpoint, and a save of the broker's queue of minutes; more
than the most nothing of that needs."""
RESERVE_PART = 16
"""The reserve is this part of the disk, within its bounds."""
LEAST_FULL, MOST_FULL = 24 * MIB, 128 * MIB
"""Bytes. A fast stream writes them in seconds, and the disk is looked at twice a second."""
FULL_PART = 40
"""A disk is full with less than this part free, within LEAST_FULL and MOST_FULL."""
LOW_PART = 20
"""A disk is low with less than this part free, as on System, but with LOW_BYTES it never is."""
LOW_BYTES = 5 * 1024 * MIB
RESERVE_FILES = 32
"""Files of the reserve: so many inodes come back with it. A day of readings takes a dozen."""
FULL_FILES = 64
"""Inodes: two days of readings, and the files that are replaced."""


class DiskState(IntEnum):
    """How much room there is; the larger, the worse."""

    OK = 0
    LOW = 1
    """Somebody should look."""
    FULL = 2
    """Nothing may be written that can wait."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the file system says. Bytes are those that are free for everybody, not only for root."""

    total: int
    free: int
    files: int
    """Inodes; 0 where the file system has no fixed number of them."""
    free_files: int


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of one measure, in bytes or inodes, and the reserve of it."""

    reserve: int
    full: int
    """Full with less than this free."""
    full_over: int
    """No longer full with at least this free."""
    low: int
    """Low with less than this free."""
    low_over: int
    """No longer low with at least this free."""

    def judge(self, before: DiskState, free: int, owed: int) -> DiskState:
        """Return the state after ``before``; ``owed`` is what of the reserve is not held."""
        if before is DiskState.FULL:
            if free - owed < self.full_over:
                return DiskState.FULL
            return DiskState.LOW if free - owed < self.low else DiskState.OK
        if free < self.full:
            return DiskState.FULL
        limit = self.low if before is DiskState.OK else self.low_over
        return DiskState.LOW if free < limit else DiskState.OK


def levels_of_bytes(total: int) -> Levels:
    """Return the levels of a disk of ``total`` bytes."""
    reserve = _between(LEAST_RESERVE, total // RESERVE_PART, MOST_RESERVE)
    full = _between(LEAST_FULL, total // FULL_PART, MOST_FULL)
    low = max(min(total // LOW_PART, LOW_BYTES), full * 5 // 2)
    return Levels(reserve, full, full * 2, low, low * 7 // 5)


def levels_of_files() -> Levels:
    """Return the levels of inodes."""
    return Levels(RESERVE_FILES, FULL_FILES, FULL_FILES * 2, FULL_FILES * 5 // 2, FULL_FILES * 7 // 2)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The state of a disk, of its bytes and its inodes apart."""

    of_bytes: DiskState = DiskState.OK
    of_files: DiskState = DiskState.OK

    @property
    def state(self) -> DiskState:
        """Return the worse of the two."""
        return max(self.of_bytes, self.of_files)

    def after(self, room: Room, owed_bytes: int, owed_files: int) -> "Judgement":
        """Return the judgement that follows; what is owed of the reserve counts as not free."""
        files = DiskState.OK
        if room.files:
            files = levels_of_files().judge(self.of_files, room.free_files, owed_files)
        return Judgement(levels_of_bytes(room.total).judge(self.of_bytes, room.free, owed_bytes), files)

    def text(self, room: Room) -> str | None:
        """Return why the disk is full, for people; None: it is not. The numbers are levels: they do not change."""
        if self.of_bytes is DiskState.FULL:
            levels = levels_of_bytes(room.total)
            return (
                f"the disk is full: less than {_mb(levels.full)} of {_mb(room.total)} were free, "
                f"{_mb(levels.full_over + levels.reserve)} are needed to go on"
            )
        if self.of_files is DiskState.FULL:
            levels = levels_of_files()
            return (
                f"the disk has no room for files: less than {levels.full} of {room.files} inodes were free, "
                f"{levels.full_over + levels.reserve} are needed to go on"
            )
        return None


def may_reserve(room: Room, owed_bytes: int, owed_files: int) -> bool:
    """Return whether what is owed of the reserve can be taken, and the disk is far from full then."""
    if room.files and room.free_files - owed_files < levels_of_files().full_over:
        return False
    return room.free - owed_bytes >= levels_of_bytes(room.total).full_over


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"
