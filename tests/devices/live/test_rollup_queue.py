"""Which hours are marked, and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.devices.live.rollup_queue import HOUR, RollupQueue

NOON = 500_000 * HOUR
MINUTE = HOUR // 60


@dataclass(eq=False)
class Device:
    device_id: str
    tenant_id: str = "acme"


@dataclass
class Stored:
    state: Device
    ts: int


@dataclass
class Book:
    """Marks with the states around them: what was touched and not written yet."""

    marks: RollupQueue = field(default_factory=RollupQueue)
    unwritten: list[Device] = field(default_factory=list)

    def commit(self, now: int, *readings: Stored) -> None:
        fresh = [reading.state for reading in readings if reading.state not in self.unwritten]
        self.unwritten += fresh
        times = [reading.ts for reading in readings]
        self.marks.stored(readings, (min(times), max(times)), fresh, now, lambda: self.unwritten)

    def write(self) -> list[tuple[str, int]]:
        """Device and hour after noon of what is written."""
        self.marks.take()
        rows = [(device_id, (hour - NOON) // HOUR) for _, device_id, hour in self.marks.rows()]
        self.marks.written()
        self.unwritten.clear()
        return rows


ONE, TWO = Device("one"), Device("two")


def at(device: Device, ts: int) -> Stored:
    return Stored(device, ts)


def test_the_present_hour_of_a_device_is_marked_once() -> None:
    book = Book()
    book.commit(NOON + MINUTE, at(ONE, NOON), at(ONE, NOON + MINUTE))
    book.commit(NOON + MINUTE, at(TWO, NOON + MINUTE))
    assert book.write() == [("one", 0), ("two", 0)]
    book.commit(NOON + 2 * MINUTE, at(ONE, NOON + 2 * MINUTE), at(TWO, NOON + 2 * MINUTE))
    assert book.write() == []


def test_a_new_hour_is_marked_for_all_that_talk_on_within_the_second() -> None:
    book = Book()
    book.commit(NOON + HOUR - 1, at(ONE, NOON + HOUR - 1), at(TWO, NOON + HOUR - 1))
    book.commit(NOON + HOUR, at(ONE, NOON + HOUR))
    assert set(book.write()) == {("one", 0), ("two", 0), ("one", 1), ("two", 1)}


def test_a_reading_of_another_hour_is_marked_each_time() -> None:
    book = Book()
    late: Sequence[Stored] = [at(ONE, NOON - 1), at(ONE, NOON - 2), at(ONE, NOON)]
    book.commit(NOON, *late)
    assert set(book.write()) == {("one", 0), ("one", -1)}
    book.commit(NOON, *late)
    assert book.write() == [("one", -1)]


def test_a_reading_received_in_one_hour_and_committed_in_the_next_is_marked_in_its_own() -> None:
    book = Book()
    book.commit(NOON + MINUTE, at(ONE, NOON))
    book.write()
    book.commit(NOON + 2 * HOUR, at(ONE, NOON + MINUTE))  # held for two hours: its first mark is gone by now
    assert ("one", 0) in book.write()


def test_what_could_not_be_written_is_written_the_next_time() -> None:
    book = Book()
    book.commit(NOON, at(ONE, NOON))
    book.marks.take()
    book.marks.give_back()
    book.commit(NOON, at(TWO, NOON))
    assert book.write() == [("one", 0), ("two", 0)]
