"""The pages of maintenance windows, without script: list, form, preview, end, delete, and who may do what."""

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import httpx
import psycopg
import pytest

from appliance.alerts.maintenance.window import WEEKDAYS
from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.browsing import CSRF
from tests.web.maintenance.test_api import furnish, here

NEW = "/maintenance/+new"
DAY = WEEKDAYS[(datetime.now(UTC).weekday() + 3) % 7]
"""A day on which nothing of this is active while the tests run."""
FOLLOWING = WEEKDAYS[(WEEKDAYS.index(DAY) + 2) % 7]
WASH: dict[str, Any] = {
    "name": "Hygiene wash", "kind": "weekly", "weekdays": [DAY], "start_time": "22:00", "end_time": "02:00",
    "which": "some", "site_ids": ["quay"], "do": "save",
}  # fmt: skip


async def send(
    browser: httpx.AsyncClient, path: str, fields: dict[str, Any], page: str | None = None
) -> httpx.Response:
    token = CSRF.search((await browser.get(page or path)).text)
    assert token is not None
    return await browser.post(path, data={"csrf_token": token[1], **fields})


def shown(answer: httpx.Response) -> str:
    """The text of a page, without its tags."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


def kept(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(
            "SELECT name, kind, weekdays, start_time::text, length_minutes, time_zone, site_ids, tags, device_ids"
            " FROM maintenance_windows ORDER BY created_at"
        ).fetchall()


def only_id(database: Database) -> str:
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute("SELECT window_id FROM maintenance_windows ORDER BY created_at DESC").fetchone()
    assert row is not None
    return str(row[0])


async def test_a_window_is_made_previewed_edited_and_deleted(database: Database) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), Role.ADMIN, email="ada@acme.example")
    async with dashboard(database) as served, client(served.url, person) as browser:
        assert "No maintenance planned" in (await browser.get("/maintenance")).text
        previewed = await send(browser, NEW, {**WASH, "do": "preview"})
        assert previewed.status_code == 200
        text = shown(previewed)
        assert f"Every {DAY.capitalize()}, 22:00 to 02:00, America/St_Johns" in text
        assert "4 h, once a week" in text
        assert "1 device now, and those that come later" in text
        assert kept(database) == []
        assert 'value="Hygiene wash"' in previewed.text, "the form is filled in again"
        assert f'value="{DAY}" checked' in previewed.text
        made = await send(browser, NEW, WASH)
        assert (made.status_code, made.headers["location"]) == (303, "/maintenance?done=created")
        wash: tuple[Any, ...] = (
            "Hygiene wash",
            "weekly",
            [DAY.value],
            "22:00:00",
            240,
            "America/St_Johns",
            ["quay"],
            [],
            [],
        )
        assert kept(database) == [wash]
        listed = shown(await browser.get("/maintenance?done=created"))
        for part in (
            f"Every {DAY.capitalize()}, 22:00 to 02:00",
            "weekly, America/St_Johns",
            "1 device",
            "The quay",
            "next start",
        ):
            assert part in listed
        page = f"/maintenance/{only_id(database)}"
        form = await browser.get(page)
        fields = dict(re.findall(r'<input[^>]* name="(version)"[^>]* value="([^"]*)"', form.text))
        changed = {
            **WASH,
            "start_time": "20:30",
            "more_days": "1",
            "which": "all",
            "time_zone": "Asia/Tokyo",
            **fields,
        }
        assert (await send(browser, page, changed)).status_code == 303
        assert kept(database) == [("Hygiene wash", "weekly", [DAY.value], "20:30:00", 1770, "Asia/Tokyo", [], [], [])]
        again = await browser.get(page)
        assert '<option value="1" selected>one day later' in again.text
        assert f"Every {DAY.capitalize()} 20:30 to {FOLLOWING.capitalize()} 02:00" in shown(again), (
            "the preview of what is kept"
        )
        audit = shown(await browser.get("/audit"))
        assert "Edited a maintenance window Hygiene wash" in audit
        stale = await send(browser, page, changed)
        assert stale.status_code == 409
        assert "was changed by someone else" in stale.text
        question = f"{page}/delete"
        assert "Delete Hygiene wash?" in shown(await browser.get(question))
        wrong = await send(browser, question, {"typed": "Hygiene"})
        assert (wrong.status_code, "Type Hygiene wash exactly to confirm." in shown(wrong)) == (422, True)
        gone = await send(browser, question, {"typed": "Hygiene wash"})
        assert gone.headers["location"] == "/maintenance?done=deleted"
        assert kept(database) == []


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        ({"name": ""}, "name", "Give the window a name."),
        ({"weekdays": []}, "weekdays", "Choose at least one day"),
        ({"start_time": ""}, "start_time", "Give a time of day"),
        ({"end_time": ""}, "end_time", "Give a time of day"),
        ({"until": "2020-01-01"}, "until", "in the past"),
        ({"time_zone": "Mars"}, "time_zone", "no such time zone"),
        ({"site_ids": []}, "which", "Choose a site"),
        ({"which": ""}, "which", "Say what the window covers"),
        ({"site_ids": ["nowhere"]}, "site_ids", "There is no site nowhere"),
        ({"device_ids": "d-1, d-9"}, "device_ids", "There is no device d-9"),
        ({"more_days": "5", "weekdays": ["mon", "tue"]}, "weekdays", "never end"),
        ({"more_days": "9"}, "more_days", "whole number"),
        ({"kind": "once", "starts": "", "ends": ""}, "starts", "Give a day and a time"),
        ({"kind": "once", "starts": "2020-01-01T08:00", "ends": "2020-01-01T09:00"}, "ends", "in the past"),
        ({"kind": "never"}, "kind", "one of once, weekly"),
    ],
)
async def test_a_mistake_is_shown_at_its_field(
    database: Database, given: dict[str, Any], field: str, text: str
) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), Role.ADMIN, email="ada@acme.example")
    async with dashboard(database) as served, client(served.url, person) as browser:
        for do in ("save", "preview"):
            refused = await send(browser, NEW, {**WASH, **given, "do": do})
            assert refused.status_code == 422
            assert f'href="#f-{field}"' in refused.text
            assert f'id="f-{field}-e"' in refused.text
            assert text in refused.text
        assert kept(database) == []


async def test_an_active_one_is_on_top_and_can_be_ended_and_repeated(database: Database) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), Role.ADMIN, email="ada@acme.example")
    now = {"name": "Belt", "kind": "once", "starts": here(-26), "ends": here(26), "time_zone": "UTC", "which": "some",
           "device_ids": "d-1", "do": "save"}  # fmt: skip
    async with dashboard(database) as served, client(served.url, person) as browser:
        await send(browser, NEW, WASH)
        overlapping = shown(
            await send(
                browser,
                NEW,
                {
                    **now,
                    "kind": "weekly",
                    "weekdays": list(WEEKDAYS),
                    "start_time": "00:00",
                    "end_time": "23:00",
                    "do": "preview",
                },
            )
        )
        assert "Overlaps Hygiene wash" in overlapping, "it covers the device at the site"
        await send(browser, NEW, now)
        listed = await browser.get("/maintenance")
        text = shown(listed)
        assert "1 window is active. d-1 is in maintenance until" in text
        assert text.index("Belt") < text.index("Hygiene wash")
        assert [line for line in ("All", "Active 1", "Planned 1", "Ended 0") if line not in text] == []
        assert "Hygiene wash" not in shown(await browser.get("/maintenance?state=active"))
        page = f"/maintenance/{only_id(database)}"
        ended = await send(browser, f"{page}/end", {}, "/maintenance")
        assert ended.headers["location"] == "/maintenance?done=ended"
        assert "window is active" not in shown(await browser.get("/maintenance"))
        repeat = await browser.get(f"{NEW}?like={page.rpartition('/')[2]}")
        assert 'value="Belt"' in repeat.text
        [starts] = re.findall(r'name="starts" value="([^"]*)"', repeat.text)
        assert here(24 * 7 - 27) < starts < here(24 * 7), "the same time, a week later"
        assert (await browser.get(f"{NEW}?like=nothing")).status_code == 404


async def test_pages_leave_out_what_a_role_may_not_do(database: Database) -> None:
    furnish(database)
    admin = signed_in(database.conninfo(), Role.ADMIN, email="ada@acme.example")
    responder = signed_in(database.conninfo(), Role.RESPONDER, email="rob@acme.example")
    viewer = signed_in(database.conninfo(), Role.VIEWER, email="vic@acme.example")
    now = {"name": "Belt", "kind": "once", "starts": here(-26), "ends": here(26), "time_zone": "UTC", "which": "all"}
    async with dashboard(database) as served:
        async with client(served.url, admin) as browser:
            await send(browser, NEW, now)
        page = f"/maintenance/{only_id(database)}"
        async with client(served.url, viewer) as browser:
            for path in ("/maintenance", page):
                text = (await browser.get(path)).text
                assert "End now" not in text
                assert "New window" not in text
                assert "Belt" in text
            assert (await browser.get(NEW)).status_code == 403
        async with client(served.url, responder) as browser:
            for path in ("/maintenance", page):
                text = (await browser.get(path)).text
                assert "End now" in text
                assert "Save window" not in text
            assert (await send(browser, f"{page}/end", {}, page)).status_code == 303


async def test_names_are_shown_as_they_are_and_downloads_are_safe(database: Database) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), Role.ADMIN, email="ada@acme.example")
    async with dashboard(database) as served, client(served.url, person) as browser:
        for name in ("<script>alert(1)</script>", "=cmd()", "{{7*7}}"):
            assert (await send(browser, NEW, {**WASH, "name": name})).status_code == 303
        text = (await browser.get("/maintenance")).text
        assert "<script>alert(1)" not in text
        assert "{{7*7}}" in text
        file = await browser.get("/maintenance?format=csv")
        assert file.headers["content-type"].startswith("text/csv")
        assert "'=cmd()" in file.text
