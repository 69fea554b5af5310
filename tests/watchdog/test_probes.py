"""Probes through a real stream and a real outbox."""

from typing import Any

import psycopg
import trio

from appliance.clock import SystemClock
from appliance.watchdog.probes import MOST_ROWS, STATEMENTS, ProbeObserver, ProbeTaker
from appliance.watchdog.proof import Part, Proof
from tests.support.couriers import open_couriers
from tests.support.pipeline import look, open_ingest, until
from tests.support.postgres_server import Database
from tests.support.tenants import NOW, ingest

INTERVAL = 1.0
ROWS = "SELECT count(*) FROM watchdog_probes"


def proof_of(clock: SystemClock) -> Proof:
    proof = Proof(clock, INTERVAL)
    proof.broker_passed()
    return proof


async def test_a_probe_passes_stream_and_outbox_without_a_message(database: Database) -> None:
    clock = SystemClock()
    proof = proof_of(clock)
    taker = ProbeTaker(proof, "one", clock)
    observers = [ProbeObserver(proof, "one", clock)]
    async with (
        open_couriers(database, take_probe=taker),
        open_ingest(database, further_observers=observers),
    ):
        await until(lambda: proof.age is not None)
        assert proof.holds
        await until(lambda: look(database, ROWS) == [(0,)])


async def test_an_outbox_that_is_held_up_is_named(database: Database) -> None:
    """As by somebody who has locked its table: what is committed goes on, what is to be told does not."""
    clock = SystemClock()
    proof = proof_of(clock)
    taker = ProbeTaker(proof, "one", clock)
    observers = [ProbeObserver(proof, "one", clock)]

    async def broker() -> None:
        while True:
            proof.broker_passed()
            await trio.sleep(INTERVAL / 10)

    async with (
        open_couriers(database, take_probe=taker),
        open_ingest(database, further_observers=observers),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(broker)
        await until(lambda: proof.holds)
        with psycopg.connect(database.conninfo()) as holder:
            holder.execute("LOCK TABLE delivery_jobs IN EXCLUSIVE MODE")
            await until(lambda: proof.holds is False)
            await until(lambda: proof.missing == [Part.OUTBOX])
        await until(lambda: proof.holds)
        nursery.cancel_scope.cancel()


async def test_rows_that_nobody_takes_are_bounded_and_removed(database: Database) -> None:
    parameters: dict[str, Any] = {"instance": "one", "now": NOW, "most": MOST_ROWS}
    async with ingest(database) as connection:
        for number in range(MOST_ROWS + 5):
            await connection.execute(STATEMENTS["write_probe"], parameters | {"number": number})
        assert look(database, ROWS) == [(MOST_ROWS,)]
        await connection.execute(STATEMENTS["write_probe"], parameters | {"number": 1, "instance": "gone"})
        for instance, before in (("two", NOW), ("one", NOW)):
            await connection.execute(STATEMENTS["take_probes"], {"instance": instance, "before": before})
        assert look(database, ROWS) == [(1,)]
        late = NOW.replace(year=NOW.year + 1)
        await connection.execute(STATEMENTS["take_probes"], {"instance": "one", "before": late})
        assert look(database, ROWS) == [(0,)]
