"""Observers of a batch over a real Postgres: written with the readings, and left out rather than holding them up."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
import pytest
import trio

from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError
from appliance.ingest import observer
from appliance.ingest.batch import Accepted, Batch, BatchOutcome, Reading
from appliance.ingest.observer import Effect, Observers
from appliance.reading import Reason, Refusal
from tests.support.commit_thief import Theft, commit_thief
from tests.support.people import StillClock
from tests.support.pipeline import PATIENCE_SECONDS, arrange, furnish, ledger_sums, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database

STORED = Accepted.STORED
NOTE = "INSERT INTO notes (batch, messages, observer) VALUES (%s, %s, %s)"
TABLE = (
    "CREATE TABLE notes (batch integer, messages integer, observer text)",
    "GRANT SELECT, INSERT ON notes TO PUBLIC",
)


@dataclass
class Noter:
    """An observer that notes every batch in a table; its state is the number of batches."""

    name: str = "noter"
    statement: str = NOTE
    on_prepare: Callable[[], None] = lambda: None
    on_write: Callable[[], None] = lambda: None
    ticks: bool = False
    batches: int = 0
    prepared: list[int] = field(default_factory=list)
    given_back: int = 0
    shed_for: list[Exception] = field(default_factory=list)
    on_load: Callable[[], None] = lambda: None
    missed_messages: list[int] = field(default_factory=list)

    def due(self, now: int) -> bool:
        assert now > 0
        return self.ticks

    def prepare(self, outcome: BatchOutcome, now: int) -> Effect | None:
        assert now >= outcome.batch.received_at
        self.prepared.append(self.batches)
        self.on_prepare()
        self.ticks = False
        return Note(self, self.batches + 1, len(outcome.batch.messages))

    async def load(self, connection: Connection[Any] | None, outcome: BatchOutcome) -> None:
        assert outcome.batch is not None
        self.on_load()
        if connection is not None:
            await connection.execute("SELECT 1")

    def missed(self, outcome: BatchOutcome) -> None:
        self.missed_messages.append(len(outcome.batch.messages))

    def shed(self, error: Exception) -> None:
        self.shed_for.append(error)


@dataclass
class Note:
    """What a noter writes with one try."""

    noter: Noter
    number: int
    messages: int

    async def write(self, connection: Connection[Any]) -> None:
        self.noter.on_write()
        await connection.execute(self.noter.statement, [self.number, self.messages, self.noter.name])

    def committed(self) -> None:
        self.noter.batches = self.number

    def given_back(self) -> None:
        self.noter.given_back += 1


def notes(database: Database, name: str = "noter") -> list[tuple[Any, ...]]:
    return look(database, "SELECT batch, messages FROM notes WHERE observer = %s ORDER BY batch", name)


@contextmanager
def locked(database: Database, table: str) -> Iterator[None]:
    """Another connection holds a lock on the table."""
    with psycopg.connect(database.conninfo()) as blocker:
        blocker.execute(f"LOCK TABLE {table}".encode())
        yield


async def test_an_observer_writes_with_the_readings(database: Database) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    noter = Noter()
    async with open_ingest(database, further_observers=[noter]) as stack:
        assert await stack.send(telemetry("d-1", b'{"t":1}'), telemetry("d-1", b"{"))
        assert await stack.send(telemetry("d-1", b'{"t":2}')) == [STORED]
    assert notes(database) == [(1, 2), (2, 1)]
    together = "SELECT count(DISTINCT t.xmin::text) FROM notes AS n JOIN telemetry AS t ON n.xmin = t.xmin"
    assert look(database, together) == [(2,)]
    assert (noter.given_back, noter.shed_for) == (0, [])


async def test_an_observer_that_is_due_gets_a_batch_without_messages(database: Database) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    quiet, due = Noter("quiet"), Noter("due", ticks=True)
    async with open_ingest(database, further_observers=[quiet, due]):
        await until(lambda: due.batches)
    assert (notes(database, "due"), quiet.prepared) == ([(1, 0)], [])
    assert look(database, "SELECT count(*) FROM ingest_ledger") == [(0,)]


@pytest.mark.parametrize("sqlstate", ["40001", "53100", "22023"])
async def test_each_try_prepares_anew_from_what_was_committed(database: Database, sqlstate: str) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    noter = Noter()
    async with open_ingest(database, further_observers=[noter]) as stack:
        await stack.send(telemetry("d-1", b'{"t":0}'))
        arrange(
            database,
            "CREATE SEQUENCE failures",
            "GRANT USAGE ON failures TO PUBLIC",
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('failures') <= 1 THEN"
            f" RAISE EXCEPTION 'made to fail' USING ERRCODE = '{sqlstate}'; END IF; RETURN NULL; END $$",
            "GRANT EXECUTE ON FUNCTION fail() TO PUBLIC",
            "CREATE TRIGGER fail BEFORE INSERT ON ingest_ledger FOR EACH STATEMENT EXECUTE FUNCTION fail()",
        )
        assert await stack.send(telemetry("d-1", b'{"t":1}'), telemetry("d-1", b'{"t":2}')) == [STORED, STORED]
    halves = sqlstate == "53100"
    assert notes(database) == ([(1, 1), (2, 1), (3, 1)] if halves else [(1, 1), (2, 2)])
    assert noter.prepared == ([0, 1, 1, 2] if halves else [0, 1, 1])
    assert noter.given_back == 1


@pytest.mark.parametrize("theft", list(Theft))
async def test_what_was_prepared_follows_the_commit_whose_answer_was_lost(database: Database, theft: Theft) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    noter = Noter()
    async with (
        commit_thief(database) as thief,
        open_ingest(database, conninfo=thief.conninfo(database, INGEST), further_observers=[noter]) as stack,
    ):
        await stack.send(telemetry("d-1", b'{"t":0}'))
        thief.plan = theft
        assert await stack.send(telemetry("d-1", b'{"t":1}')) == [STORED]
        assert thief.stolen == 1
    assert notes(database) == [(1, 1), (2, 1)]
    assert noter.batches == 2
    assert noter.given_back == (theft is Theft.QUESTION)


def raise_a_bug() -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("fault", [{"on_prepare": raise_a_bug}, {"on_write": raise_a_bug}])
async def test_an_observer_that_raises_is_left_out_and_told(database: Database, fault: dict[str, Any]) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    faulty, sound = Noter("faulty", **fault), Noter("sound")
    async with open_ingest(database, further_observers=[sound, faulty]) as stack:
        assert await stack.send(telemetry("d-1", b'{"t":1}')) == [STORED]
    assert (notes(database, "faulty"), notes(database, "sound")) == ([], [(1, 1)])
    assert [str(error) for error in faulty.shed_for] == ["a bug"]
    assert sound.shed_for == []
    assert ledger_sums(database)["received"] == 1


@pytest.mark.parametrize("statement", ["SELECT %s::int / 0, %s::int, %s::text", "SELECT %s::int, %s::text, %s::jsonb"])
async def test_an_observer_whose_statement_postgres_refuses_is_left_out_alone(
    database: Database, statement: str
) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    first, faulty, last = Noter("first"), Noter("faulty", statement=statement), Noter("last")
    async with open_ingest(database, further_observers=[first, faulty, last]) as stack:
        with trio.fail_after(PATIENCE_SECONDS):
            verdicts = await stack.send(telemetry("d-1", b'{"t":1}'), telemetry("d-1", b"{"))
        assert (verdicts[0], isinstance(verdicts[1], Refusal)) == (STORED, True)
        await until(lambda: not stack.states.changed())
    assert [notes(database, name) for name in ("first", "faulty", "last")] == [[(1, 2)], [], [(1, 2)]]
    assert (first.shed_for, last.shed_for) == ([], [])
    assert isinstance(faulty.shed_for[0], psycopg.DataError)
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(1,)], "a row was shed that was not at fault"


@pytest.mark.parametrize("statement", ["SELECT %s::int, %s::int, no_such_function(%s)", "SELECT fail(%s, %s, %s)"])
async def test_an_observer_with_a_statement_that_can_never_work_does_not_stop_the_stream(
    database: Database, statement: str
) -> None:
    """SQLSTATE class 42, and one that is not known: P0001 is what a function made by hand raises."""
    await furnish(database)
    arrange(
        database,
        *TABLE,
        "CREATE FUNCTION fail(integer, integer, text) RETURNS integer LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'by hand'; END $$",
        "GRANT EXECUTE ON FUNCTION fail TO PUBLIC",
    )
    sound, faulty = Noter("sound"), Noter("faulty", statement=statement)
    async with open_ingest(database, further_observers=[faulty, sound]) as stack:
        with trio.fail_after(PATIENCE_SECONDS):
            verdicts = await stack.send(telemetry("d-1", b'{"t":1}'), telemetry("d-1", b"{"))
        assert (verdicts[0], isinstance(verdicts[1], Refusal)) == (STORED, True)
    assert (notes(database, "sound"), len(faulty.shed_for)) == ([(1, 2)], 1)
    assert look(database, "SELECT count(*) FROM quarantine_events") == [(1,)]


async def test_two_observers_that_postgres_refuses_are_both_left_out(database: Database) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    wrong = "SELECT %s::int / 0, %s::int, %s::text"
    one, two = Noter("one", statement=wrong), Noter("two", statement=wrong)
    async with open_ingest(database, further_observers=[one, two]) as stack:
        with trio.fail_after(PATIENCE_SECONDS):
            assert await stack.send(telemetry("d-1", b'{"t":1}')) == [STORED]
    assert (len(one.shed_for), len(two.shed_for)) == (1, 1)
    assert ledger_sums(database)["received"] == 1


async def test_an_observer_that_does_not_get_a_lock_is_left_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "FIRST_REST_SECONDS", 0.05)
    await furnish(database)
    arrange(database, *TABLE)
    noter = Noter()
    async with open_ingest(database, further_observers=[noter]) as stack:
        await stack.send(telemetry("d-1", b'{"t":0}'))
        with locked(database, "notes"), trio.fail_after(PATIENCE_SECONDS):
            verdicts = await stack.send(telemetry("d-1", b'{"t":1}'), telemetry("d-1", b"{"))
            assert (verdicts[0], isinstance(verdicts[1], Refusal)) == (STORED, True)
            assert look(database, "SELECT count(*) FROM telemetry, quarantine_events") == [(2,)]
        assert isinstance(noter.shed_for[0], psycopg.errors.LockNotAvailable)
        assert await stack.send(telemetry("d-1", b'{"t":2}')) == [STORED]
    assert notes(database) == [(1, 1), (2, 1)]


async def test_the_ledger_waits_for_its_lock_as_long_as_it_takes(database: Database) -> None:
    """Whatever observers write beside it: the limit on their waits is theirs alone."""
    await furnish(database)
    arrange(database, *TABLE)
    noter = Noter()
    async with open_ingest(database, further_observers=[noter]) as stack, trio.open_nursery() as nursery:
        await stack.send(telemetry("d-1", b'{"t":0}'))
        with locked(database, "ingest_ledger"):
            nursery.start_soon(stack.send, telemetry("d-1", b'{"t":1}'))
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'appliance_ingest'"
            await until(lambda: look(database, waiting))
            started = time.monotonic()
            await until(lambda: time.monotonic() - started > 2 * observer.LOCK_WAIT_MS / 1000)
            assert look(database, waiting)
    assert noter.shed_for == []
    assert noter.given_back == 0
    assert ledger_sums(database)["received"] == 2


async def test_when_nothing_more_can_be_left_out_a_person_is_needed(database: Database) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    with pytest.RaisesGroup(pytest.RaisesExc(ApplianceError, match="constraints and triggers"), flatten_subgroups=True):
        async with open_ingest(database, further_observers=[Noter()]) as stack:
            await stack.send(telemetry("d-1", b'{"t":0}'))
            arrange(database, "ALTER TABLE ingest_ledger ADD CONSTRAINT none_ever CHECK (received < 0) NOT VALID")
            await stack.send(telemetry("d-1", b'{"t":1}'), telemetry("d-1", b"{"))


async def test_a_unique_violation_beside_the_readings_ends_at_the_observer(database: Database) -> None:
    await furnish(database)
    arrange(database, *TABLE, "CREATE UNIQUE INDEX ON notes ((1))")
    noter = Noter()
    async with open_ingest(database, further_observers=[noter]) as stack:
        await stack.send(telemetry("d-1", b'{"t":0}'))
        with trio.fail_after(PATIENCE_SECONDS):
            assert await stack.send(telemetry("d-1", b'{"t":1}')) == [STORED]
    assert isinstance(noter.shed_for[0], psycopg.errors.UniqueViolation)
    assert ledger_sums(database)["received"] == 2


def outcome_of_one_message() -> BatchOutcome:
    return BatchOutcome(Batch([telemetry("d-1", b"{}")], 1), [], [], [])


async def asked(observers: Observers) -> Sequence[str]:
    effects, outcome = observer.Effects(), outcome_of_one_message()
    await observers.prepare(cast("Connection[Any]", None), outcome, frozenset(), effects)
    observers.committed(observer.Effects() if effects.names() else effects, outcome)
    return effects.names()


async def test_an_observer_that_fails_again_and_again_rests_ever_longer_and_is_told_each_time() -> None:
    clock, noter = StillClock(), Noter()
    observers = Observers([noter], clock)
    error = RuntimeError("it")
    observers.shed(["noter"], error)
    assert await asked(observers) == ("noter",), "once may be a matter of one batch"
    assert observers.suspects() == {"noter"}
    for rest in (1, 2, 4, 8, 16, 32, 60, 60):
        observers.shed(["noter"], error)
        assert await asked(observers) == ()
        clock.passed += 0.79 * rest
        assert await asked(observers) == ()
        clock.passed += 0.21 * rest
        assert await asked(observers) == ("noter",)
    assert noter.shed_for == [error] * 9
    assert noter.missed_messages == [1] * 16, "each batch that went by while it rested"
    effects, outcome = observer.Effects(), outcome_of_one_message()
    await observers.prepare(cast("Connection[Any]", None), outcome, frozenset(), effects)
    observers.committed(effects, outcome)
    assert observers.suspects() == frozenset()


async def test_a_reading_refused_by_postgres_and_an_observer_at_once(database: Database) -> None:
    """Bisection of the readings and shedding of what stands beside them do not stand in each other's way."""
    await furnish(database)
    arrange(database, *TABLE, "ALTER TABLE telemetry ADD CONSTRAINT no_poison CHECK (metrics->>'poison' IS NULL)")
    noter = Noter(statement="SELECT %s::int / 0, %s::int, %s::text")
    async with open_ingest(database, further_observers=[noter]) as stack:
        with trio.fail_after(PATIENCE_SECONDS):
            verdicts = await stack.send(telemetry("d-1", b'{"poison":1}'), telemetry("d-1", b'{"t":1}'))
    assert isinstance(verdicts[0], Refusal)
    assert (verdicts[0].reason, verdicts[1]) == (Reason.STORE_REFUSED, STORED)
    assert len(noter.shed_for) == 1
    assert look(database, "SELECT reason FROM quarantine_events") == [("STORE_REFUSED",)]


class Foreseer(Noter):
    """A noter that is told of readings while they are stored, and fails with those of one device."""

    def __init__(self) -> None:
        super().__init__()
        self.foreseen: list[tuple[int, int]] = []
        """Messages that were told, and batches that had been prepared by then."""

    def foresee(self, readings: Sequence[Reading]) -> None:
        self.foreseen.append((len(readings), len(self.prepared)))
        if readings[0].route.device_id == "broken":
            raise RuntimeError("made to fail")


async def test_an_observer_may_work_ahead_while_readings_are_stored(database: Database) -> None:
    await furnish(database)
    arrange(database, *TABLE)
    ahead = Foreseer()
    async with open_ingest(database, further_observers=[ahead, Noter("plain")]) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'), telemetry("d-1", b'{"t":2}'), telemetry("d-1", b"{"))
        assert ahead.foreseen == [(2, 0)]
        assert await stack.send(telemetry("broken", b'{"t":1}')) == [STORED]
        assert ahead.foreseen == [(2, 0), (1, 1)]
    assert (notes(database), ahead.shed_for) == ([(1, 3), (2, 1)], [])
