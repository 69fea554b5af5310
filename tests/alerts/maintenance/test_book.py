"""The windows in memory: which is active, whom it covers, and how soon a change counts."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from appliance.alerts.maintenance import store
from appliance.alerts.maintenance.book import MAINTENANCE_CHANNEL, ActiveScopes, MaintenanceBook
from appliance.alerts.maintenance.occurrences import active_at
from appliance.alerts.maintenance.window import Coverage, WindowDraft
from appliance.clock import SystemClock
from appliance.db import roles
from appliance.db.changes import Changes
from appliance.db.pool import Pool, open_pool
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from tests.alerts.maintenance.windows import once, weekly
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, LATER, TENANT, add_tenant, ingest, rows, sell

DURING = datetime.fromisoformat("2026-11-29T23:00+00:00").timestamp()
SUNDAYS = weekly("sun", "22:00", 240)


class Watch(SystemClock):
    """A clock that stands where it is put."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.time = now

    def now(self) -> float:
        return self.time


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection[Any]]:
    async with ingest(database) as opened:
        await add_tenant(opened)
        await add_tenant(opened, "other")
        yield opened


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with open_pool(database.conninfo(roles.INGEST), name="ingest", min_size=1, max_size=2, timeout=20) as opened:
        yield opened


@pytest.fixture
def book(pool: Pool) -> MaintenanceBook:
    return MaintenanceBook(pool, Watch(BY.now.timestamp()))


async def add(connection: Connection[Any], tenant_id: str = TENANT, name: str = "Wash", **covers: Any) -> None:
    await store.create(connection, tenant_id, WindowDraft(name, "", Coverage(**covers), SUNDAYS), BY)


async def test_it_covers_who_is_named_while_it_is_active(connection: Connection[Any], book: MaintenanceBook) -> None:
    await sell(connection, 5)
    for device in ("d-1", "d-2"):
        await changes.create(connection, TENANT, NewDevice(device, "quay"), BY, grace=GRACE)
    await add(connection, tags=("wash",), device_ids=("d-1",))
    await add(connection, "other", name="All")
    await book.refresh()

    def covered(tenant_id: str, site_id: str | None, device_id: str | None, *tags: str) -> str | None:
        found = book.covering(tenant_id, site_id, device_id, tags, DURING)
        return None if found is None else found.window.name

    assert covered(TENANT, "quay", "d-1") == "Wash"
    assert covered(TENANT, "quay", "d-2") is None
    assert covered(TENANT, "quay", "d-2", "dry", "wash") == "Wash"
    assert covered(TENANT, "quay", None) is None
    assert covered("other", None, None) == "All"
    assert covered("nobody", None, None) is None
    for now in (DURING - 3601, DURING + 3 * 3600):
        assert book.covering(TENANT, "quay", "d-1", (), now) is None
    for now in (DURING - 3600, DURING + 3 * 3600 - 1):
        found = book.covering(TENANT, "quay", "d-1", (), now)
        assert found is not None
        assert found.until == DURING + 3 * 3600


async def test_of_two_windows_the_one_that_ends_last_is_told(
    connection: Connection[Any], book: MaintenanceBook
) -> None:
    await add(connection, name="Wash")
    longer = WindowDraft("Shutdown", "", Coverage(), once("2026-11-29T12:00", "2026-12-04T12:00"))
    await store.create(connection, TENANT, longer, BY)
    await book.refresh()
    assert {one.window.name for one in book.active(TENANT, DURING)} == {"Wash", "Shutdown"}
    found = book.covering(TENANT, None, None, (), DURING)
    assert found is not None
    assert found.window.name == "Shutdown"


async def test_what_is_kept_of_the_present_is_what_is_reckoned(
    connection: Connection[Any], book: MaintenanceBook
) -> None:
    """Forwards, backwards and across: an answer from memory is the answer."""
    await add(connection)
    await book.refresh()
    [window] = await store.of_tenant(connection, TENANT)
    for hours in (0, 1, 2.9, 3, 3.1, -1, -1.1, 167, 166.9, 400, 0, -500, 2):
        now = DURING + hours * 3600
        reckoned = active_at(window, now)
        assert [one.until for one in book.active(None, now)] == ([] if reckoned is None else [reckoned.end]), hours


async def test_a_statement_finds_the_same_alerts(connection: Connection[Any], book: MaintenanceBook) -> None:
    await sell(connection, 9)
    await changes.create(connection, TENANT, NewDevice("tagged", "quay", tags=("wash",)), BY, grace=GRACE)
    await changes.create(connection, TENANT, NewDevice("named", "quay"), BY, grace=GRACE)
    await changes.create(connection, TENANT, NewDevice("free", "quay"), BY, grace=GRACE)
    await changes.create(connection, TENANT, NewDevice("there", "roof"), BY, grace=GRACE)
    await add(connection, tags=("wash",), device_ids=("named",), site_ids=("roof",))
    alerts = [
        (t, s, d) for t in (TENANT, "other") for s in ("quay", "roof", None) for d in ("tagged", "named", "free", None)
    ]
    tags = {(TENANT, "tagged"): ("wash",)}

    async def by_statement(tenant_id: str | None, now: float) -> list[bool]:
        scopes = book.active_scopes(tenant_id, now)
        found = await rows(
            connection,
            "SELECT in_maintenance(a.t, a.s, a.d, %s::text[], %s::text[], %s::text[])"
            " FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS a (t, s, d, n) ORDER BY n",
            *scopes.parameters().values(),
            *map(list, zip(*alerts, strict=True)),
        )
        return [bool(one) for (one,) in found]

    def by_memory(now: float) -> list[bool]:
        return [book.covering(t, s, d, tags.get((t, d or ""), ()), now) is not None for t, s, d in alerts]

    await book.refresh()
    assert await by_statement(None, DURING) == await by_statement(TENANT, DURING) == by_memory(DURING)
    assert any(by_memory(DURING))
    assert not all(by_memory(DURING))
    assert not any(await by_statement(None, DURING + 86400))
    assert book.active_scopes("other", DURING) == ActiveScopes([], [], [])
    await add(connection, "other")
    book.tenant_changed("other")
    await book.refresh()
    assert await by_statement(None, DURING) == by_memory(DURING)
    assert book.active_scopes("other", DURING) == ActiveScopes(["other"], ["all"], [""])


async def test_a_change_by_anybody_counts_within_a_second(
    connection: Connection[Any], book: MaintenanceBook, database: Database
) -> None:
    opened = Changes(lambda: connect(database.conninfo(roles.INGEST)), [MAINTENANCE_CHANNEL])
    opened.subscribe(MAINTENANCE_CHANNEL, book.changed, book.forget)

    async def until(shows: Callable[[list[str]], bool]) -> None:
        with trio.fail_after(1):
            while True:
                await book.refresh()
                if shows([one.window.name for one in book.active(None, DURING)]):
                    return
                await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        await nursery.start(opened.run)
        await until(lambda names: names == [])
        await add(connection)
        await until(lambda names: names == ["Wash"])
        [window] = await store.of_tenant(connection, TENANT)
        wanted = WindowDraft("Other", "", Coverage(), SUNDAYS)
        await store.change(connection, TENANT, window.window_id, wanted, LATER)
        await until(lambda names: names == ["Other"])
        during = datetime.fromtimestamp(DURING, UTC)
        await store.end(connection, TENANT, window.window_id, replace(BY, now=during, settled=during))
        await until(lambda names: names == [])
        await connection.execute("UPDATE maintenance_windows SET ended_at = NULL, name = 'By hand'")
        await until(lambda names: names == ["By hand"])
        await connection.execute("DELETE FROM maintenance_windows")
        await until(lambda names: names == [])
        nursery.cancel_scope.cancel()


async def test_a_page_that_asks_for_nothing_to_be_read_is_right_within_a_second(
    connection: Connection[Any], book: MaintenanceBook
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(book.run)
        assert list(book.active(None, DURING)) == []
        await add(connection)
        book.changed('{"tenants": ["acme"]}')
        with trio.fail_after(1):
            while not list(book.active(None, DURING)):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_only_what_changed_is_read_and_a_failed_reading_is_made_up(
    connection: Connection[Any], book: MaintenanceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(connection)
    asked: list[Any] = []
    real = store.not_over

    async def counted(connection: Connection[Any], tenants: Any, now: datetime) -> Any:
        asked.append(tenants)
        if len(asked) == 2:
            raise OSError("away")
        return await real(connection, tenants, now)

    monkeypatch.setattr(store, "not_over", counted)
    await book.refresh()
    await book.refresh()
    assert asked == [None]
    book.changed('{"tenants": ["acme"]}')
    with pytest.raises(OSError, match="away"):
        await book.refresh()
    assert [one.window.name for one in book.active(None, DURING)] == ["Wash"], "the known ones stay in force"
    book.changed('{"tenants": ["other"]}')
    await book.refresh()
    assert asked == [None, ["acme"], ["acme", "other"]]
    for payload in ("nonsense", "[]", '{"all": true}', '{"tenants": 1}'):
        book.changed(payload)
        await book.refresh()
    book.forget()
    await book.refresh()
    assert asked[3:] == [None] * 5
    assert [one.window.name for one in book.active(None, DURING)] == ["Wash"]


async def test_a_change_while_it_is_read_is_read_again(
    connection: Connection[Any], book: MaintenanceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.not_over

    async def overtaken(reading: Connection[Any], tenants: Any, now: datetime) -> Any:
        found = await real(reading, tenants, now)
        if not found:
            await add(connection)
            book.changed('{"tenants": ["acme"]}')
        return found

    monkeypatch.setattr(store, "not_over", overtaken)
    await book.refresh()
    assert list(book.active(None, DURING)) == []
    await book.refresh()
    assert [one.window.name for one in book.active(None, DURING)] == ["Wash"]
