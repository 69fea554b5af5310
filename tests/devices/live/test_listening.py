"""The book of when the appliance listened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.devices.live.listening import KEPT, LAPSE, Listening
from appliance.devices.live.presence import PresenceThresholds
from tests.support.clock import TrustedClock
from tests.support.postgres_server import Database

START = 1_800_000_000.0


@dataclass
class Clocks(TrustedClock):
    """Two clocks that agree unless told otherwise."""

    seconds: float = 0.0
    offset: float = START
    trusted: bool = True

    def now(self) -> float:
        return self.seconds + self.offset

    def monotonic(self) -> float:
        return self.seconds


class Book:
    """A Listening and what it wrote, as offsets from START."""

    def __init__(self, listening: Listening, clocks: Clocks, database: Database) -> None:
        self.listening = listening
        self.clocks = clocks
        self._database = database

    async def look(self, *moments: float, present: bool = True) -> None:
        for moment in moments:
            self.clocks.seconds = moment
            await self.listening.look(present=present)

    def stretches(self) -> list[tuple[float, float]]:
        return [(began - START, ended - START) for began, ended in rows(self._database)]


def rows(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(
            "SELECT extract(epoch FROM began_at)::float8, extract(epoch FROM ended_at)::float8 FROM listening"
            " ORDER BY began_at"
        ).fetchall()


@asynccontextmanager
async def opened(database: Database, clocks: Clocks | None = None) -> AsyncIterator[Book]:
    clocks = clocks or Clocks()
    async with open_pool(database.conninfo(INGEST), name="listening", min_size=1, max_size=2) as pool:
        yield Book(Listening(pool, "one", clocks, PresenceThresholds()), clocks, database)


async def test_a_stretch_grows_while_all_is_there(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 5, 10)
        assert book.stretches() == [(0, 10)]


async def test_a_restart_begins_a_stretch(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 5)
    async with opened(database, Clocks(100)) as book:
        await book.look(100, 105)
        assert book.stretches() == [(0, 5), (100, 105)]


async def test_while_the_broker_or_postgres_is_away_nothing_grows(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 5)
        await book.look(10, 15, present=False)
        await book.look(20, 25)
        assert book.stretches() == [(0, 5), (20, 25)]


async def test_an_absence_that_was_told_begins_a_stretch_unless_it_is_a_moment(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 5)
        book.listening.away(1)
        await book.look(10)
        book.listening.away(8)
        await book.look(15, 20)
        assert book.stretches() == [(0, 10), (15, 20)]


async def test_a_process_that_was_held_up_did_not_listen(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 5, 5 + LAPSE + 1, 30)
        assert book.stretches() == [(0, 5), (21, 30)]


@pytest.mark.parametrize("jump", [-7200.0, 86_400.0])
async def test_a_clock_that_was_set_makes_nobody_silent(database: Database, jump: float) -> None:
    async with opened(database) as book:
        await book.look(0, 5)
        book.clocks.offset += jump
        await book.look(10, 15)
        stretches = book.stretches()
        assert stretches[-1] == (jump + 10, jump + 15)
        assert len(stretches) == (2 if jump > 0 else 1)


async def test_a_stretch_that_reaches_into_the_future_is_cut(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 5)
        book.clocks.offset -= 8
        await book.look(6)
        assert book.stretches() == [(0, 5)]  # both clocks agree to within the lapse: nothing to mend
    async with opened(database, Clocks(3)) as book:
        await book.look(3)
        first, second = book.stretches()
        assert first[0] == 0
        assert first[1] < second[0]
        assert [second] == [(3, 3)]


async def test_the_longest_stretches_are_remembered(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 10)
        for number in range(1, KEPT + 20):
            await book.look(1000 * number, 1000 * number + 1)
        stretches = book.stretches()
        assert len(stretches) == KEPT
        newest = 1000 * (KEPT + 19)
        assert [stretches[0], stretches[-1]] == [(0, 10), (newest, newest + 1)]


async def test_while_the_clock_is_in_doubt_nothing_is_recorded_and_so_nobody_is_silent(database: Database) -> None:
    async with opened(database) as book:
        await book.look(0, 5)
        book.clocks.trusted = False
        await book.look(10, 3600)
        assert book.stretches() == [(0, 5)]
        book.clocks.trusted = True
        await book.look(3605, 3610)
        assert book.stretches() == [(0, 5), (3605, 3610)]
