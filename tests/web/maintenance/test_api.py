"""``/customer/maintenance``: windows as programs make, read, change and end them."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import signed_in
from tests.support.web.api_caller import Caller, calling, dashboard

PATH = "/customer/maintenance"
WEEKENDS = {
    "name": "Wash", "kind": "weekly", "weekdays": ["sun", "sat"], "start_time": "22:00", "end_time": "06:00",
}  # fmt: skip


def furnish(database: Database) -> None:
    signed_in(database.conninfo(), Role.ADMIN)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("UPDATE tenants SET time_zone = 'Europe/Oslo'")
        connection.execute(
            "INSERT INTO sites (created_at, updated_at, tenant_id, site_id, name, time_zone)"
            " VALUES (now(), now(), 'acme', 'quay', 'The quay', 'America/St_Johns')"
        )
        connection.execute(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, site_id)"
            " VALUES (now(), now(), 'acme', 'd-1', 'PENDING', 'quay')"
        )


def here(hours: float) -> str:
    """A local time of UTC, so many hours from now."""
    return f"{datetime.now() + timedelta(hours=hours):%Y-%m-%dT%H:%M}"  # noqa: DTZ005 - the tests run in UTC


async def now_active(admin: Caller, **given: Any) -> Any:
    wanted = {"name": "Now", "kind": "once", "starts": here(-26), "ends": here(26), "time_zone": "UTC", **given}
    return await admin.ask("POST", PATH, 201, json=wanted)


async def test_a_weekly_window_is_made_read_changed_and_deleted(database: Database) -> None:
    furnish(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json=WEEKENDS)
        assert made["when"] == "Every Sat and Sun, 22:00 to 06:00"
        assert (made["weekdays"], made["length_minutes"], made["time_zone"]) == (["sat", "sun"], 480, "Europe/Oslo")
        assert made["scope"] == {"site_ids": [], "tags": [], "device_ids": []}
        address = f"{PATH}/{made['window_id']}"
        assert await admin.ask("GET", address) == made
        assert (await admin.ask("GET", PATH))["items"] == [made]
        changed = await admin.ask("PATCH", address, json={"end_time": "07:30", "version": made["version"]})
        assert (changed["start_time"], changed["end_time"], changed["length_minutes"]) == ("22:00", "07:30", 570)
        assert (changed["weekdays"], changed["name"]) == (["sat", "sun"], "Wash")
        moved = await admin.ask("PATCH", address, json={"start_time": "20:00", "until": "2030-12-31"})
        assert (moved["end_time"], moved["until"]) == ("05:30", "2030-12-31"), "it keeps its length"
        assert (await admin.ask("PATCH", address, json={"until": None}))["until"] is None
        conflict = await admin.ask("PATCH", address, 409, json={"name": "Other", "version": made["version"]})
        assert "changed by someone else" in conflict["detail"]
        longer = await admin.ask(
            "PATCH", address, json={"weekdays": ["fri"], "length_minutes": 3360, "start_time": "22:00"}
        )
        assert longer["when"] == "Every Fri 22:00 to Mon 06:00"
        once = await admin.ask("PATCH", address, json={"kind": "once", "starts": here(24), "ends": here(25)})
        assert (once["kind"], once["weekdays"], once["length_minutes"]) == ("once", [], None)
        await admin.ask("DELETE", address, 204)
        await admin.ask("GET", address, 404)
        await admin.ask("DELETE", address, 404)


async def test_the_zone_is_the_sites_if_it_is_about_one(database: Database) -> None:
    furnish(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json={**WEEKENDS, "scope": {"site_ids": ["quay"]}})
        assert made["time_zone"] == "America/St_Johns"
        address = f"{PATH}/{made['window_id']}"
        kept = await admin.ask("PATCH", address, json={"scope": {"device_ids": ["d-1"]}})
        assert (kept["time_zone"], kept["scope"]["site_ids"]) == ("America/St_Johns", []), "shown, and kept until told"
        assert (await admin.ask("PATCH", address, json={"time_zone": None}))["time_zone"] == "Europe/Oslo"
        assert (await admin.ask("PATCH", address, json={"time_zone": "Asia/Tokyo"}))["time_zone"] == "Asia/Tokyo"


async def test_an_active_window_is_ended_by_whoever_responds_to_alerts(database: Database) -> None:
    furnish(database)
    async with (
        dashboard(database) as served,
        calling(served, database) as admin,
        calling(served, database, Role.RESPONDER) as responder,
        calling(served, database, Role.VIEWER) as viewer,
    ):
        made = await now_active(admin)
        address = f"{PATH}/{made['window_id']}"
        assert (made["state"], made["next"]) == ("active", None)
        assert made["active"]["start"] < made["active"]["end"]
        book = served.platform.maintenance
        await book.refresh()
        assert [one.window.name for one in book.active("acme", served.platform.clock.now())] == ["Now"]
        await viewer.ask("POST", f"{address}/end", 403)
        await responder.ask("PATCH", address, 403, json={"name": "Mine"})
        ended = await responder.ask("POST", f"{address}/end", 200)
        assert (ended["state"], ended["active"], ended["ended_at"] is not None) == ("ended", None, True)
        assert "not active now" in (await responder.ask("POST", f"{address}/end", 409))["detail"]
        await book.refresh()
        assert list(book.active("acme", served.platform.clock.now())) == [], "this process knows at once"


async def test_lists_have_active_ones_first_then_the_next_and_the_newest_ended_last(database: Database) -> None:
    furnish(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        for name, starts, ends in (
            ("later", 60, 70), ("soon", 30, 80), ("ends last", -30, 50), ("ends first", -40, 40),
            ("over", -50, 30), ("done", -60, 30),
        ):  # fmt: skip
            made = await now_active(admin, name=name, starts=here(starts), ends=here(ends))
            if name in ("over", "done"):
                await admin.ask("POST", f"{PATH}/{made['window_id']}/end")
        order = ["ends first", "ends last", "soon", "later", "done", "over"]
        assert [one["name"] for one in (await admin.ask("GET", PATH))["items"]] == order
        active = await admin.ask("GET", f"{PATH}?state=active")
        assert [one["name"] for one in active["items"]] == order[:2]
        both = await admin.ask("GET", f"{PATH}?state=active&state=ended")
        assert [one["name"] for one in both["items"]] == order[:2] + order[4:]
        paged: list[str] = []
        following: str | None = ""
        while following is not None:
            page = await admin.ask("GET", f"{PATH}?limit=4&cursor={following}")
            paged += [one["name"] for one in page["items"]]
            following = page["next"]
        assert paged == order
        await admin.ask("GET", f"{PATH}?cursor=nonsense", 400)
        await admin.ask("GET", f"{PATH}?state=asleep", 400)
        text = (await admin.raw("GET", PATH, headers={"Accept": "text/csv"})).text
        assert [line.split(",")[2] for line in text.splitlines()] == ["name", *order]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"kind": "monthly"}, "kind"),
        ({"weekdays": []}, "weekdays"),
        ({"weekdays": ["funday"]}, "weekdays"),
        ({"start_time": None}, "start_time"),
        ({"start_time": "25:00"}, "start_time"),
        ({"start_time": "22:00Z"}, "start_time"),
        ({"end_time": None}, "end_time"),
        ({"end_time": "six"}, "end_time"),
        ({"length_minutes": 60}, "length_minutes"),
        ({"end_time": None, "length_minutes": 20_000}, "length_minutes"),
        ({"end_time": None, "length_minutes": 1500}, "weekdays"),
        ({"until": "2020-01-01"}, "until"),
        ({"until": "soon"}, "until"),
        ({"time_zone": "Oslo"}, "time_zone"),
        ({"scope": {"site_ids": ["nowhere"]}}, "site_ids"),
        ({"scope": {"device_ids": ["d-1", "nothing"]}}, "device_ids"),
        ({"scope": {"devices": ["d-1"]}}, "scope"),
        ({"kind": "once"}, "starts"),
        ({"kind": "once", "starts": "2026-12-01T08:00"}, "ends"),
        ({"kind": "once", "starts": "2030-12-01T08:00", "ends": "2030-12-01T08:00"}, "ends"),
        ({"kind": "once", "starts": "2020-12-01T08:00", "ends": "2020-12-01T09:00"}, "ends"),
        ({"kind": "once", "starts": "2030-12-01T08:00Z", "ends": "2030-12-01T09:00Z"}, "starts"),
        ({"kind": "once", "starts": "tomorrow", "ends": "2030-12-01T09:00Z"}, "starts"),
        ({"state": "ended"}, "state"),
    ],
)
async def test_what_cannot_be_names_its_field(database: Database, wanted: dict[str, Any], field: str) -> None:
    furnish(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        refused = await admin.ask("POST", PATH, 400, json={**WEEKENDS, **wanted})
        assert (refused.get("field") or "").split(".")[0] == field
        assert (await admin.ask("GET", PATH))["items"] == []


async def test_ids_that_are_none_are_not_found(database: Database) -> None:
    furnish(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        for identity in ("1", "x" * 200, "00000000000000000000000000000000"):
            assert (await admin.raw("GET", f"{PATH}/{identity}")).status_code == 404
            assert (await admin.raw("POST", f"{PATH}/{identity}/end")).status_code == 404
            assert (await admin.raw("DELETE", f"{PATH}/{identity}")).status_code == 404


async def test_an_operator_names_the_tenant_of_a_change_and_reads_all(database: Database) -> None:
    furnish(database)
    async with (
        dashboard(database) as served,
        calling(served, database) as admin,
        calling(served, database, Role.OPERATOR) as operator,
    ):
        await admin.ask("POST", PATH, 201, json=WEEKENDS)
        refused = await operator.ask("POST", PATH, 400, json=WEEKENDS)
        assert refused["field"] == "tenant"
        await operator.ask("POST", f"{PATH}?tenant=acme", 201, json=WEEKENDS)
        for query in ("", "?tenant=acme"):
            assert len((await operator.ask("GET", f"{PATH}{query}"))["items"]) == 2
