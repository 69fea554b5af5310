"""The states of devices: one a device, whoever loads them and however few may be kept."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st

from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.clock_step import ClockStep
from appliance.devices.live.rollup_queue import HOUR
from appliance.devices.live.state import DeviceKey, DeviceState
from appliance.devices.live.state_book import StateBook
from tests.support.postgres_server import Database
from tests.support.tenants import add_tenant, ingest

KEY = ("acme", "d1")
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


@asynccontextmanager
async def connections(database: Database) -> AsyncIterator[Pool]:
    async with ingest(database) as connection:
        await add_tenant(connection, "acme")
    async with open_pool(database.conninfo(INGEST), name="states", min_size=2, max_size=2) as pool:
        yield pool


async def load(pool: Pool, book: StateBook, *keys: DeviceKey) -> None:
    async with pool.connection() as connection:
        await book.load(connection, keys)


def hear(book: StateBook, state: DeviceState, at: int, **metrics: Any) -> None:
    state.newest = state.last_ts = state.seen_at = state.heard_at = at
    state.latest = state.latest | metrics
    book.touch(state)


async def write(connection: Connection[Any], book: StateBook) -> None:
    await connection.execute(*book.upsert(book.take_changed(), "one", NOW, NOW + HOUR))
    book.written()


async def test_a_device_loaded_by_two_tasks_at_once_has_one_state(database: Database) -> None:
    async with connections(database) as pool, pool.connection() as first, pool.connection() as second:
        book = StateBook(10)
        found = []

        async def load_and_take(connection: Connection[Any]) -> None:
            await book.load(connection, [KEY])
            found.append(book.get(KEY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load_and_take, first)
            nursery.start_soon(load_and_take, second)
        assert found[0] is found[1] is not None


async def test_what_is_loaded_is_there_however_few_may_be_kept(database: Database) -> None:
    async with connections(database) as pool:
        book = StateBook(2)
        keys = [("acme", f"d{number}") for number in range(5)]
        await load(pool, book, *keys)
        assert all(book.get(key) for key in keys)
        await load(pool, book, KEY)
        assert len(book) == 2


async def test_a_state_forgotten_while_in_use_is_written_once_with_all_it_saw(database: Database) -> None:
    async with connections(database) as pool:
        book = StateBook(1)
        await load(pool, book, KEY)
        old = book.get(KEY)
        assert old is not None
        await load(pool, book, ("acme", "d2"))
        assert book.get(KEY) is None
        await load(pool, book, KEY)
        new = book.get(KEY)
        assert new is not None
        hear(book, new, NOW, humidity=40)
        hear(book, old, NOW + 1, temperature=21)
        async with pool.connection() as connection:
            await write(connection, book)
        book = StateBook(1)
        await load(pool, book, KEY)
        state = book.get(KEY)
        assert state is not None
        assert state.newest == state.seen_at == NOW + 1
        assert state.latest == {"humidity": 40, "temperature": 21}


async def test_a_time_that_was_only_admitted_is_not_written(database: Database) -> None:
    async with connections(database) as pool:
        book = StateBook(10)
        await load(pool, book, KEY)
        state = book.get(KEY)
        assert state is not None
        hear(book, state, NOW)
        state.newest = NOW + 5  # a reading in hand, whose batch is not committed
        async with pool.connection() as connection:
            await write(connection, book)
        book = StateBook(10)
        await load(pool, book, KEY)
        found = book.get(KEY)
        assert found is not None
        assert found.newest == NOW


async def test_what_changes_during_a_write_is_due_for_the_next(database: Database) -> None:
    async with connections(database) as pool, pool.connection() as connection:
        book = StateBook(10)
        await load(pool, book, KEY)
        state = book.get(KEY)
        assert state is not None
        hear(book, state, NOW, a=1)
        statement = book.upsert(book.take_changed(), "one", NOW, NOW + HOUR)
        hear(book, state, NOW + 1, a=2)
        await connection.execute(*statement)
        book.written()
        assert book.changed() == [state]
        await write(connection, book)
        assert book.changed() == []
        cursor = await connection.execute("SELECT latest->>'a' FROM device_state")
        assert await cursor.fetchall() == [("2",)]


async def test_a_write_that_failed_is_due_again_and_forgets_nothing_meanwhile(database: Database) -> None:
    async with connections(database) as pool:
        book = StateBook(1)
        await load(pool, book, KEY)
        state = book.get(KEY)
        assert state is not None
        hear(book, state, NOW, a=1)
        assert book.take_changed() == [state]
        await load(pool, book, ("acme", "d2"), ("acme", "d3"))
        assert book.get(KEY) is state
        book.give_back()
        assert book.take_changed() == [state]


async def test_what_is_heard_without_a_reading_does_not_pile_up(database: Database) -> None:
    async with connections(database) as pool:
        book = StateBook(10)
        await load(pool, book, KEY)
        for second in range(100):
            book.heard(KEY, NOW + second, "SITE_MISMATCH")
            book.take_changed()
            book.written()
        assert len(book._talking) <= 1


async def test_of_two_allowances_the_emptier_is_kept_unless_a_wrong_clock_wrote_it(database: Database) -> None:
    async with connections(database) as pool, pool.connection() as connection:
        book = StateBook(10)
        await load(pool, book, KEY)
        state = book.get(KEY)
        assert state is not None
        for full_at, expected in (
            (0, 0),
            (NOW + 7, NOW + 7),
            (NOW + 5, NOW + 7),
            (0, NOW + 7),
            (NOW + 10 * HOUR, NOW + 10 * HOUR),
            (NOW + 3, NOW + 3),
        ):
            state.allowance_full_at = full_at
            book.touch(state)
            await write(connection, book)
            other = StateBook(10)
            await load(pool, other, KEY)
            found = other.get(KEY)
            assert found is not None
            assert found.allowance_full_at == expected


@dataclass(frozen=True)
class Stored:
    """A reading that was committed."""

    state: DeviceState
    ts: int


def test_a_device_that_was_heard_before_a_batch_without_readings_is_marked_with_its_next_one() -> None:
    book, state, other = StateBook(10), DeviceState(*KEY), DeviceState("acme", "d2")
    book.touch(other)
    book.stored([Stored(other, NOW)], (NOW, NOW), NOW)
    book.touch(state)  # it was refused
    book.stored([], None, NOW)
    book.stored([Stored(state, NOW)], (NOW, NOW), NOW)
    book.take_changed()
    _, parameters = book.upsert([], "one", NOW, NOW + HOUR)
    hour = NOW - NOW % HOUR
    assert json.loads(parameters["marks"]) == [["acme", "d2", hour], [*KEY, hour]]


async def test_what_a_deleted_device_goes_on_sending_brings_nothing_of_it_back(database: Database) -> None:
    async with connections(database) as pool:
        book = StateBook(10)
        await load(pool, book, KEY)
        state = book.get(KEY)
        assert state is not None
        hear(book, state, NOW, secret=1)
        async with pool.connection() as connection:
            await write(connection, book)
        book.forget(KEY)
        assert (state.latest, state.newest, state.seen_at, book.changed()) == ({}, 0, 0, [])


@dataclass(frozen=True)
class Accepted:
    """A reading that was stored."""

    ts: int
    metrics: dict[str, Any]
    late: bool = False
    adjusted: bool = False
    nulls: int = 0
    unplaced: int = 0


def test_a_replayed_reading_moves_the_newest_time_and_values_and_no_time_backwards() -> None:
    state = DeviceState(*KEY)
    state.accept(Accepted(NOW, {"a": 1, "b": 1}), NOW + 5)
    state.accept_replayed(Accepted(NOW + 1, {"a": 2}, adjusted=True, nulls=3, unplaced=1), NOW + 2)
    assert (state.last_ts, state.latest) == (NOW + 1, {"b": 1, "a": 2})
    assert (state.seen_at, state.heard_at, state.adjusted_at) == (NOW + 5, NOW + 5, NOW + 2)
    assert (state.nulls, state.unplaced) == (3, 1)


def test_readings_without_a_time_that_come_together_have_increasing_times() -> None:
    state = DeviceState(*KEY)
    assert [state.stamp(NOW) for _ in range(10_000)] == list(range(NOW, NOW + 10_000))
    assert state.stamp(NOW + 9_000) == NOW + 10_000, "received before the last one's time: still after it"
    assert state.stamp(NOW - 500) == NOW + 10_001, "received by a clock slightly behind: still after it"
    assert state.stamp(NOW + SECOND) == NOW + SECOND, "and back at the receive time as soon as that has caught up"


def test_a_reading_without_a_time_comes_after_one_whose_clock_is_slightly_ahead() -> None:
    state = DeviceState(*KEY)
    assert not state.admit(NOW + SECOND // 2)
    times = [state.stamp(NOW) for _ in range(3)]
    assert times == [NOW + SECOND // 2 + extra for extra in (1, 2, 3)]
    assert not any(state.admit(ts) for ts in times)


def test_however_far_ahead_a_device_is_a_time_of_ours_stays_that_of_the_receipt() -> None:
    state = DeviceState(*KEY)
    state.admit(NOW + 200 * SECOND)
    assert [state.stamp(NOW) for _ in range(3)] == [NOW, NOW + 1, NOW + 2]


def test_a_clock_that_is_set_back_is_followed() -> None:
    state = DeviceState(*KEY)
    state.admit(state.stamp(NOW))
    assert [state.stamp(NOW - 60 * SECOND) for _ in range(2)] == [NOW - 60 * SECOND, NOW - 60 * SECOND + 1]


@given(st.lists(st.integers(-SECOND // 3, SECOND // 3), min_size=1, max_size=300))
def test_times_of_ours_increase_and_never_run_away_from_the_receipt(jitter: list[int]) -> None:
    state = DeviceState(*KEY)
    times = [state.stamp(NOW + shift) for shift in jitter]
    assert times == sorted(set(times))
    assert max(times) <= NOW + max(jitter) + len(jitter)


def test_a_late_reading_moves_what_was_seen_and_nothing_that_is_newest() -> None:
    for accept in (DeviceState.accept, DeviceState.accept_replayed):
        state = DeviceState(*KEY)
        state.accept(Accepted(NOW, {"a": 1}), NOW)
        accept(state, Accepted(NOW - 1, {"a": 0, "b": 0}, late=True), NOW + 1)
        assert (state.last_ts, state.latest, state.seen_at) == (NOW, {"a": 1}, NOW + 1)


def test_a_reading_that_was_overtaken_before_its_commit_moves_nothing_backwards() -> None:
    """The stream and a replay commit independently: neither was late when it was admitted."""
    stream, replay = DeviceState.accept, DeviceState.accept_replayed
    for overtaken, first in ((stream, replay), (replay, stream)):
        state = DeviceState(*KEY)
        assert not state.admit(NOW)
        assert not state.admit(NOW + 1)
        first(state, Accepted(NOW + 1, {"a": 2}), NOW + 1)
        overtaken(state, Accepted(NOW, {"a": 1, "b": 1}), NOW)
        assert (state.last_ts, state.latest) == (NOW + 1, {"a": 2, "b": 1})


async def test_a_device_heard_after_a_clock_ahead_was_set_back_is_heard_by_this_instance() -> None:
    """What a wrong clock wrote, and was read from the table, does not count as later than what comes now."""
    book, state = StateBook(10), DeviceState(*KEY)
    day = 86_400 * SECOND
    state.heard_at = state.restored_at = NOW + 20 * day
    book.touch(state)
    book.heal(NOW, ClockStep(-20 * day, 600 * SECOND))
    book.take_changed()
    book.written()
    state.note_unaccepted(NOW + SECOND, None)
    book.touch(state)
    _, parameters = book.upsert(book.take_changed(), "one", NOW, NOW + HOUR)
    [row] = json.loads(parameters["rows"])
    assert row[14], "heard by this instance"
