"""The pages of alerts: what they show, to whom, what their questions say, and what their forms do."""

import csv
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx
import pytest

from appliance.people.role import Role
from appliance.web.alerts.views.listing import PAGE_ROWS
from appliance.web.page.formats import MINUS
from tests.support.alerts import add_alert, add_alerts
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.web.accounts import TENANT, client, signed_in
from tests.support.web.serving import over

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=30)


@asynccontextmanager
async def viewing(
    database: Database, role: Role = Role.RESPONDER, tenant: str = TENANT, **given: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who views the dashboard."""
    person = signed_in(database.conninfo(), role, tenant)
    async with over(database, **given) as served, client(served.url, person) as asking:
        asking.headers["X-Person"] = person.email
        yield asking


def listed(html: str) -> list[int]:
    """The alerts of the list, in order."""
    return [int(number) for number in re.findall(r'<tr role="row" id="a-(\d+)"', html)]


def plain(html: str) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html))).strip()


def tabs(html: str) -> dict[str, str]:
    """The tabs with their numbers."""
    found = re.search(r'id="alert-tabs">(.*?)</nav>', html, re.DOTALL)
    assert found is not None
    return dict(re.findall(r">(\w+) <span class=\"count\">([\d,]+)", found[1]))


def status_of(database: Database, alert_id: int) -> str:
    return str(look(database, f"SELECT status FROM fleet_alert WHERE id = {alert_id}")[0][0])


def at(minutes: int) -> datetime:
    """So many minutes ago."""
    return NOW - timedelta(minutes=minutes)


async def test_an_alert_is_in_one_tab_and_in_that_of_all(database: Database) -> None:
    opened = add_alert(database, created_at=at(5))
    taken = add_alert(database, status="ACKNOWLEDGED", created_at=at(4))
    silenced = add_alert(database, silenced_until=LATER, created_at=at(3))
    inhibited = add_alert(database, inhibited_by=opened, created_at=at(2))
    closed = add_alert(database, status="CLOSED", created_at=at(1))
    add_alert(database, "rival")
    async with viewing(database, Role.VIEWER) as viewer:
        pages = {tab: (await viewer.get(f"/alerts?tab={tab}")).text for tab in ("open", "acknowledged", "silenced")}
        assert {tab: listed(html) for tab, html in pages.items()} == {
            "open": [opened],
            "acknowledged": [taken],
            "silenced": [silenced],
        }
        assert listed((await viewer.get("/alerts?tab=inhibited")).text) == [inhibited]
        assert listed((await viewer.get("/alerts?tab=closed")).text) == [closed]
        assert listed((await viewer.get("/alerts?tab=all")).text) == [closed, inhibited, silenced, taken, opened]
    numbers = {"Open": "1", "Acknowledged": "1", "Silenced": "1", "Inhibited": "1", "Closed": "1", "All": "5"}
    assert tabs(pages["open"]) == numbers
    assert '<title id="page-title">(1) Alerts' in pages["open"]


async def test_the_most_severe_stand_first_and_of_these_the_one_that_waits_longest(database: Database) -> None:
    low = add_alert(database, severity="low", created_at=at(90))
    late, early = (add_alert(database, severity="critical", created_at=at(minutes)) for minutes in (5, 50))
    async with viewing(database) as responder:
        assert listed((await responder.get("/alerts")).text) == [early, late, low]
        assert listed((await responder.get("/alerts?sort=newest")).text) == [late, early, low]
        assert listed((await responder.get("/alerts?severity=low&severity=high")).text) == [low]
        assert listed((await responder.get("/alerts?alert_type=NO_DATA")).text) == []


async def test_pages_follow_one_another_and_the_file_has_all(database: Database) -> None:
    ids = add_alerts(database, PAGE_ROWS + 3, summary="=cmd|calc")
    async with viewing(database) as responder:
        first = (await responder.get("/alerts?sort=oldest")).text
        following = re.search(r'rel="next" href="([^"]+)"', first)
        assert following is not None
        second = (await responder.get(unescape(following[1]))).text
        assert sorted(listed(first) + listed(second)) == ids
        rows = list(csv.DictReader(io.StringIO((await responder.get("/alerts?format=csv")).text.lstrip("\ufeff"))))
    assert sorted(int(row["alert_id"]) for row in rows) == ids
    assert rows[0]["summary"] == "'=cmd|calc"


async def test_a_filter_that_cannot_be_is_told_and_the_list_stays(database: Database) -> None:
    one = add_alert(database)
    async with viewing(database) as responder:
        for query in ("tab=none", "severity=worst", "device_id=../x", "open=0", "open=99999999999999999999",
                      "rule_id=x", "cursor=x", "site_id=%00", "sort=up", "limit=201", f"q={'x' * 201}"):  # fmt: skip
            answered = await responder.get(f"/alerts?{query}")
            assert (answered.status_code, listed(answered.text)) == (400, [one]), query
        assert listed((await responder.get("/alerts?q=%25")).text) == [], "a search takes no patterns"


async def test_an_opened_alert_shows_chart_facts_and_timeline(database: Database) -> None:
    details = {"metric": "temperature", "value": -14.5, "threshold": -15, "clear_value": -16}
    one = add_alert(database, details=details, created_at=at(5), summary="Freezer too warm")
    arrange(
        database,
        "SELECT telemetry_ensure_partitions((now() - interval '2 days')::date, (now() + interval '2 days')::date)",
        "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
        " SELECT 'acme', 'd1', 'telemetry', now() - n * interval '60 s', n, now(), false, false,"
        " jsonb_build_object('temperature', -14.5 - n / 10.0) FROM generate_series(1, 60) AS n",
    )
    async with viewing(database) as responder:
        for path in (f"/alerts?open={one}", f"/alerts/{one}"):
            html = (await responder.get(path)).text
            assert 'class="limit"' in html, path
            assert 'class="limit clear"' in html, path
            assert 'class="band"' in html, path
            assert f"Limit {MINUS}15.0 °C" in plain(html), path
            assert 'id="alert-timeline"' in html, path
        assert "Opened" in plain(html)
        assert (await responder.get(f"/alerts/{one}?range=2h")).status_code == 400
        assert (await responder.get(f"/alerts/{one}?range=7d")).status_code == 200


async def test_what_is_not_there_or_anothers_is_not_found(database: Database) -> None:
    theirs = add_alert(database, "rival")
    async with viewing(database) as responder:
        for path in (f"/alerts/{theirs}", "/alerts/9999", "/alerts/99999999999999999999", f"/alerts/{theirs}/silence"):
            assert (await responder.get(path)).status_code == 404, path
        for step in ("acknowledge", "unacknowledge", "unsilence", "silence", "close", "notes"):
            sent = await responder.post(f"/alerts/{theirs}/{step}", data={"note": "x", "reason": "x"})
            assert sent.status_code == 404, step
        assert listed((await responder.get(f"/alerts?open={theirs}")).text) == []
    assert status_of(database, theirs) == "OPEN"


async def test_an_acknowledgement_is_one_press_and_can_be_undone(database: Database) -> None:
    one = add_alert(database)
    async with viewing(database) as responder:
        sent = await responder.post(f"/alerts/{one}/acknowledge", data={"back": "tab=all&severity=high"})
        assert sent.status_code == 303
        shown = (await responder.get(sent.headers["Location"])).text
        assert status_of(database, one) == "ACKNOWLEDGED"
        assert "Alert acknowledged." in plain(shown)
        undo = re.search(rf'action="(/alerts/{one}/unacknowledge[^"]*)"', shown)
        assert undo is not None
        back = await responder.post(unescape(undo[1]))
        assert back.headers["Location"].startswith("/alerts?tab=all&severity=high")
    assert status_of(database, one) == "OPEN"


async def test_a_step_that_cannot_be_says_so(database: Database) -> None:
    closed = add_alert(database, status="CLOSED")
    async with viewing(database) as responder:
        assert (await responder.post(f"/alerts/{closed}/acknowledge")).status_code == 409
        answered = await responder.post(f"/alerts/{closed}/close", data={"note": "again"})
    assert answered.status_code == 422
    assert "cannot be closed again" in plain(answered.text)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"for": "3600"}, "Say why"),
        ({"for": "1", "reason": "x"}, "Choose how long"),
        ({"until": "soon", "reason": "x"}, "Write the end as"),
        ({"until": "2001-01-01T00:00", "reason": "x"}, "in the future"),
        ({"until": "9999-12-31T23:59", "reason": "x"}, "366 days at most"),
        ({"for": "3600", "reason": "x" * 2001}, "at most 2000 characters"),
    ],
)
async def test_a_silence_needs_an_end_and_a_reason(database: Database, given: dict[str, str], said: str) -> None:
    one = add_alert(database)
    async with viewing(database) as responder:
        answered = await responder.post(f"/alerts/{one}/silence", data=given)
        assert answered.status_code == 422
        assert said in plain(answered.text)
        assert given.get("until", "") in answered.text, "what was typed is there again"
        sent = await responder.post(f"/alerts/{one}/silence", data={"for": "3600", "reason": "Defrosting"})
        assert (sent.status_code, sent.headers["Location"]) == (303, f"/alerts/{one}?done=silenced")
        shown = plain((await responder.get(f"/alerts/{one}")).text)
    assert "Defrosting" in shown
    assert "Silenced until" in shown


async def test_a_note_is_in_the_timeline_with_who_wrote_it(database: Database) -> None:
    one = add_alert(database)
    async with viewing(database) as responder:
        await responder.post(f"/alerts/{one}/notes", data={"note": "Door <b>open</b>"})
        html = (await responder.get(f"/alerts/{one}")).text
        assert "Door &lt;b&gt;open&lt;/b&gt;" in html
        assert responder.headers["X-Person"] in plain(html)
        assert (await responder.post(f"/alerts/{one}/notes", data={"note": " "})).status_code == 400


async def test_several_at_once_answer_for_each_that_was_skipped(database: Database) -> None:
    one, two = add_alerts(database, 2)
    closed = add_alert(database, status="CLOSED", summary="Over by now")
    async with viewing(database) as responder:
        data = {"step": "acknowledge", "alert": [str(one), str(closed), "424242"], "back": "tab=all"}
        html = plain((await responder.post("/alerts/+bulk", data=data)).text)
        assert "1 of 3 alerts was changed" in html
        assert "Over by now" in html
        assert "There is no such alert any more" in html
        asked = await responder.post("/alerts/+bulk", data={"step": "close", "alert": [str(one), str(two)]})
        assert "Close 2 alerts" in plain(asked.text)
        assert status_of(database, two) == "OPEN"
        sent = await responder.post(
            "/alerts/+bulk", data={"step": "close", "alert": [str(one), str(two)], "note": "Mended", "back": "tab=all"}
        )
        assert sent.status_code == 303
        assert "2 alerts closed." in plain((await responder.get(sent.headers["Location"])).text)
        assert (await responder.post("/alerts/+bulk", data={"step": "close"})).status_code == 400
        for wrong in ({"step": "delete", "alert": str(one)}, {"step": "close", "alert": "x", "note": "x"}):
            assert (await responder.post("/alerts/+bulk", data=wrong)).status_code == 400
    assert [status_of(database, alert) for alert in (one, two)] == ["CLOSED", "CLOSED"]


async def test_several_acknowledgements_are_taken_back_at_once_and_only_those_that_moved(database: Database) -> None:
    before = add_alert(database, status="ACKNOWLEDGED", acknowledged_by="jonas")
    several = add_alerts(database, 3)
    async with viewing(database) as responder:
        data = {"step": "acknowledge", "alert": [str(one) for one in several], "back": "tab=all"}
        sent = await responder.post("/alerts/+bulk", data=data)
        shown = (await responder.get(sent.headers["Location"])).text
        assert "3 alerts acknowledged." in plain(shown)
        back = await press(responder, undo_of(shown))
        assert back.headers["Location"].startswith("/alerts?tab=all")
        assert "3 alerts open again." in plain((await responder.get(back.headers["Location"])).text)
        assert [status_of(database, one) for one in several] == ["OPEN"] * 3
        partly = await responder.post("/alerts/+bulk", data={**data, "alert": [str(before), str(several[0])]})
        assert "1 of 2 alerts was changed" in plain(partly.text)
        await press(responder, undo_of(partly.text))
        for nonsense in ("x", "1.-1", "9" * 30, "1." * 900):
            assert "unacknowledge" not in (await responder.get(f"/alerts?done=acknowledged&undo={nonsense}")).text
    assert [status_of(database, one) for one in (before, several[0])] == ["ACKNOWLEDGED", "OPEN"]


async def press(responder: httpx.AsyncClient, form: tuple[str, dict[str, Any]]) -> httpx.Response:
    return await responder.post(form[0], data=form[1])


def undo_of(html: str) -> tuple[str, dict[str, Any]]:
    """Return the address and the fields of the page's Undo."""
    form = re.search(r'<form method="post" action="([^"]*)" class="inline">((?:<input[^>]*>)*)<button[^>]*>Undo<', html)
    assert form is not None
    fields: dict[str, Any] = {}
    for name, value in re.findall(r'name="([^"]*)" value="([^"]*)"', form[2]):
        fields.setdefault(name, []).append(unescape(value))
    return unescape(form[1]), fields


async def test_an_operator_acts_on_alerts_of_several_tenants(database: Database) -> None:
    ours, theirs = add_alert(database), add_alert(database, "rival")
    async with viewing(database, Role.OPERATOR) as operator:
        assert sorted(listed((await operator.get("/alerts")).text)) == [ours, theirs]
        assert listed((await operator.get("/alerts?tenant=rival")).text) == [theirs]
        await operator.post("/alerts/+bulk", data={"step": "acknowledge", "alert": [str(ours), str(theirs)]})
        assert (await operator.get(f"/alerts/{theirs}")).status_code == 200
    assert [status_of(database, alert) for alert in (ours, theirs)] == ["ACKNOWLEDGED", "ACKNOWLEDGED"]


async def test_who_may_not_act_is_offered_nothing(database: Database) -> None:
    one = add_alert(database)
    async with viewing(database, Role.VIEWER) as viewer:
        for path in ("/alerts", f"/alerts?open={one}", f"/alerts/{one}"):
            html = (await viewer.get(path)).text
            assert not re.search(r"acknowledge\"|/silence|/close|data-bulk|note-form\"", html), path
        assert (await viewer.post(f"/alerts/{one}/acknowledge")).status_code == 403


async def test_an_inhibited_alert_names_its_cause_and_offers_no_steps(database: Database) -> None:
    cause = add_alert(database, alert_type="SITE_SILENT", device_id=None, summary="Grain Store is silent")
    one = add_alert(database, alert_type="NO_HEARTBEAT", inhibited_by=cause)
    async with viewing(database) as responder:
        html = (await responder.get(f"/alerts/{one}")).text
        assert "Part of Grain Store is silent" in plain(html).replace(" .", ".")
        assert f'href="/alerts/{cause}"' in html
        assert "Acknowledge" not in plain(html.split("</main>")[0]), "beside the help of the keys"
        assert f'href="/alerts/{one}"' in (await responder.get(f"/alerts/{cause}")).text


async def test_a_closed_alert_says_why_and_by_whom(database: Database) -> None:
    by_hand = add_alert(database, status="CLOSED", close_reason="closed", closed_by="kim@acme.example")
    past = add_alert(database, status="CLOSED", close_reason="cleared", past=True)
    async with viewing(database) as responder:
        assert "kim@acme.example" in plain((await responder.get(f"/alerts/{by_hand}")).text)
        assert "Ended before it could be delivered" in plain((await responder.get(f"/alerts/{past}")).text)


async def test_without_routes_every_alert_says_that_nobody_is_told(database: Database) -> None:
    one = add_alert(database)
    async with viewing(database) as responder:
        assert "Unrouted" in plain((await responder.get("/alerts")).text)
        assert "There are no routes yet" in plain((await responder.get(f"/alerts/{one}")).text)


async def test_the_third_opening_within_an_hour_is_flapping(database: Database) -> None:
    ids = [
        add_alert(database, fingerprint="same", created_at=at(minutes), status="CLOSED" if minutes > 1 else "OPEN")
        for minutes in (200, 50, 30, 1)
    ]
    async with viewing(database) as responder:
        html = (await responder.get("/alerts?tab=all")).text
    flapping = {int(number) for number in re.findall(r'id="a-(\d+)-marks">[^\n]*?Flapping', html)}
    assert flapping == {ids[3]}


async def test_very_long_words_and_many_of_them_are_shown(database: Database) -> None:
    one = add_alert(database, summary="x" * 2000, details={"metric": "t" * 64, "value": "y" * 5000, "threshold": []})
    async with viewing(database) as responder:
        for path in ("/alerts", f"/alerts?open={one}", f"/alerts/{one}", f"/alerts/{one}/close"):
            assert (await responder.get(path)).status_code == 200, path


async def test_an_empty_list_says_whether_anything_is_hidden(database: Database) -> None:
    async with viewing(database) as responder:
        nothing, hidden = plain((await responder.get("/alerts")).text), (await responder.get("/alerts?q=x")).text
    assert "No open alerts" in nothing
    assert "Clear the filter" in hidden


async def test_an_alert_of_a_silent_device_says_since_when_nothing_came(database: Database) -> None:
    alert_id = add_alert(database, device_id="pump-7")
    arrange(
        database,
        f"INSERT INTO device_registry (tenant_id, device_id, status, created_at, updated_at)"
        f" VALUES ('{TENANT}', 'pump-7', 'PENDING', '{NOW}', '{NOW}')",
        f"INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at)"
        f" VALUES ('{TENANT}', 'pump-7', '{at(60)}', '{at(60)}')",
        f"INSERT INTO listening VALUES ('one', '{at(120)}', '{at(1)}')",
    )
    async with viewing(database) as viewer:
        assert "No reading since" in plain((await viewer.get(f"/alerts/{alert_id}")).text)
        arrange(database, f"UPDATE device_state SET last_seen_at = '{at(1)}', last_heard_at = '{at(1)}'")
        assert "No reading since" not in plain((await viewer.get(f"/alerts/{alert_id}")).text)
