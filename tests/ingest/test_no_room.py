"""A full disk and the writer: it holds its batch, tries nothing, and says so when Postgres is the first to notice."""

import trio
import trio.testing

from tests.support.pipeline import arrange, furnish, ledger_sums, open_ingest, telemetry, until
from tests.support.postgres_server import Database


async def test_nothing_is_written_until_there_is_room_and_then_all_of_it(database: Database) -> None:
    room, passed = trio.Event(), 0
    await furnish(database)

    async def wait() -> None:
        nonlocal passed
        await room.wait()
        passed += 1

    held: list[float] = []
    async with open_ingest(database, room=wait, on_held=held.append) as stack, trio.open_nursery() as nursery:
        nursery.start_soon(stack.send, telemetry("d1", b'{"seq":1}'), telemetry("d1", b'{"seq":2}'))
        with trio.move_on_after(0.2):
            await until(lambda: ledger_sums(database)["received"])
        assert ledger_sums(database)["received"] == 0
        room.set()
        await until(lambda: ledger_sums(database)["stored"] == 2)
    assert passed, "each try waits for room"
    assert max(held) > 0.1, "nobody is limited for the time in which nothing was taken"


async def test_postgres_without_room_is_said_and_the_batch_is_kept(database: Database) -> None:
    await furnish(database)
    arrange(
        database,
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER no_room BEFORE INSERT ON ingest_ledger FOR EACH STATEMENT EXECUTE FUNCTION no_room()",
    )
    said: list[bool] = []
    async with open_ingest(database, no_room=lambda: said.append(True)) as stack, trio.open_nursery() as nursery:
        nursery.start_soon(stack.send, telemetry("d1", b'{"seq":1}'))
        await until(lambda: said)
        arrange(database, "DROP TRIGGER no_room ON ingest_ledger")
        await until(lambda: ledger_sums(database)["stored"] == 1)
