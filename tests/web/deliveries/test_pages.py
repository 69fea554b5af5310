"""The page of deliveries: what it shows of each, the filters, the opened one, and what people do there."""

import csv
import io
import re
from collections.abc import Sequence
from html import unescape

import httpx
import pytest

from appliance.delivery.outbox.job import JobStatus
from appliance.people.role import Role
from appliance.web.deliveries.shown import DELIVERED, FINAL, FREE, USED, pips
from tests.support.alerts import add_alert, add_alerts
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.serving import over
from tests.support.web.stand_ins import OPERATOR
from tests.web.alerts.test_live import RESPONDER, page_name, words
from tests.web.alerts.test_views import at, plain, viewing

RETRYING = "reason = 'retrying', tries = 2, attempts = 2, next_run_at = now() + interval '2 hours'"
DEAD = "status = 'DEAD', reason = 'refused', receipt = 'refused', tries = 1, attempts = 1, finished_at = now()"


def receive(database: Database, tenant_id: str = "acme") -> None:
    add_route(database, add_integration(database, tenant_id, name="Ops", type="slack"), tenant_id, name="Operations")


def jobs_of(database: Database) -> list[int]:
    return [job for (job,) in look(database, "SELECT job_id FROM delivery_jobs ORDER BY job_id")]


def change(database: Database, job: int, what: str) -> None:
    arrange(database, f"UPDATE delivery_jobs SET {what} WHERE job_id = {job}")


def attempt(database: Database, job: int, outcome: str, status: int, answer: str, after: int = 0) -> None:
    arrange(
        database,
        "INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome, http_status, answer, request)"
        f" SELECT tenant_id, job_id, created_at + interval '{after} s', 800, '{outcome}', {status}, '{answer}',"
        f" 'POST https://hooks.example/x' FROM delivery_jobs WHERE job_id = {job}",
    )


def listed(html: str) -> list[int]:
    """The deliveries of the list, in order."""
    return [int(number) for number in re.findall(r'<tr role="row" id="d-(\d+)"', html)]


def counts(html: str) -> list[str]:
    """The numbers of the states: waiting, delivered, dead, skipped."""
    return re.findall(r'id="state-\w+">([\d,]+)<', html)


async def send(asking: httpx.AsyncClient, page: str, path: str, **fields: str) -> httpx.Response:
    """Send a form that a page holds."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await asking.get(page)).text)
    assert token is not None
    return await asking.post(path, data={"csrf_token": unescape(token[1]), **fields})


async def test_a_row_says_what_was_told_to_whom_and_how_that_goes(database: Database) -> None:
    receive(database)
    add_alert(database, summary="Door open", created_at=at(5))
    [job] = jobs_of(database)
    change(database, job, RETRYING)
    attempt(database, job, "retry", 503, "down")
    async with viewing(database, Role.VIEWER) as viewer:
        text = plain((await viewer.get("/deliveries")).text)
        for path in ("/deliveries", "/routes", "/integrations"):
            assert "Routes 1 Integrations 1 Deliveries 1" in plain((await viewer.get(path)).text), path
    assert "High Door open Opened, d1 Operations Slack Next try" in text
    assert "2 of 9, last 503 Details" in text


async def test_states_are_counted_and_the_filter_narrows_list_and_file_alike(database: Database) -> None:
    receive(database)
    receive(database, "rival")
    one, two, three = add_alerts(database, 3, created_at=at(5))
    add_alert(database, "rival")
    old = add_alert(database, created_at=at(60 * 24 * 20), summary="Long ago")
    del one, two, three
    first, second, third, _, past = jobs_of(database)
    change(database, first, DEAD)
    change(database, second, "status = 'COMPLETED', receipt = 'confirmed', tries = 1, finished_at = now()")
    async with viewing(database, Role.VIEWER) as viewer:
        html = (await viewer.get("/deliveries")).text
        assert (listed(html), counts(html)) == ([third, second, first], ["1", "1", "1", "0"])
        dead = (await viewer.get("/deliveries?state=dead")).text
        assert (listed(dead), counts(dead)) == ([first], ["1", "1", "1", "0"])
        assert listed((await viewer.get("/deliveries?state=dead&state=waiting")).text) == [third, first]
        assert listed((await viewer.get("/deliveries?event=CLOSED")).text) == []
        assert listed((await viewer.get(f"/deliveries?span=90d&alert_id={old}")).text) == [past]
        assert listed((await viewer.get("/deliveries?span=90d&q=LONG+ago")).text) == [past]
        assert listed((await viewer.get("/deliveries?q=%25")).text) == [], "a search takes no patterns"
        [(message,)] = look(database, f"SELECT message_id FROM delivery_jobs WHERE job_id = {second}")
        assert listed((await viewer.get(f"/deliveries?q={message}")).text) == [second]
        file = (await viewer.get("/deliveries?state=dead&format=csv")).text.lstrip("\ufeff")
    assert [row["job_id"] for row in csv.DictReader(io.StringIO(file))] == [str(first)]


async def test_a_filter_that_cannot_be_is_told_and_the_list_stays(database: Database) -> None:
    receive(database)
    add_alert(database, created_at=at(5))
    jobs = jobs_of(database)
    async with viewing(database) as responder:
        for query in (
            "state=lost",
            "event=NONE",
            "route_id=x",
            "span=1y",
            "cursor=x",
            "open=0",
            f"q={'x' * 201}",
            "q=%00",
        ):
            answered = await responder.get(f"/deliveries?{query}")
            assert (answered.status_code, listed(answered.text)) == (400, jobs), query


async def test_an_opened_delivery_shows_every_try_its_answer_and_the_masked_request(database: Database) -> None:
    receive(database)
    add_alerts(database, 2, created_at=at(5))
    one, other = jobs_of(database)
    change(database, one, RETRYING)
    attempt(database, one, "retry", 502, "Bad gateway")
    attempt(database, one, "retry", 503, "maintenance", after=5)
    change(database, other, f"status = 'SKIPPED', reason = 'merged', merged_into = {one}, finished_at = now()")
    async with viewing(database) as responder:
        html = (await responder.get(f"/deliveries?open={one}")).text
        text = plain(html)
        assert re.search("503 maintenance 0.8 s in [12] h", text)
        assert "502 Bad gateway 0.8 s after 5 s" in text
        assert "POST https://hooks.example/x" in text
        assert "Secrets are masked." in text
        for label in ("Try now", "Cancel delivery…", "Open alert", "Open integration"):
            assert label in text, label
        merged = plain((await responder.get(f"/deliveries?open={other}")).text)
        assert "Delivered together with others. View that delivery" in merged
        elsewhere = (await responder.get(f"/deliveries?state=dead&open={one}")).text
        assert listed(elsewhere) == [one], "it is shown whatever the filter"
        assert (await responder.get("/deliveries?open=99999")).status_code == 200
    async with viewing(database, Role.VIEWER) as viewer:
        html = (await viewer.get(f"/deliveries?open={one}")).text
        assert "503 maintenance" in plain(html)
        assert "Try now" not in html
        assert "Cancel delivery" not in html


async def test_what_waits_for_its_next_try_is_tried_at_once_and_what_is_held_is_not(database: Database) -> None:
    receive(database)
    add_alerts(database, 2, created_at=at(5))
    one, held = jobs_of(database)
    change(database, one, RETRYING)
    change(database, held, "reason = 'silenced', next_run_at = now() + interval '2 hours'")
    async with viewing(database) as responder:
        html = (await responder.get("/deliveries")).text
        assert f"/deliveries/{one}/retry" in html
        assert f"/deliveries/{held}/retry" not in html
        done = await send(responder, "/deliveries", f"/deliveries/{one}/retry", back="state=waiting")
        assert done.headers["Location"] == "/deliveries?state=waiting&done=retried"
        assert (await send(responder, "/deliveries", f"/deliveries/{held}/retry")).status_code == 409
    due = "SELECT next_run_at <= now(), tries FROM delivery_jobs ORDER BY job_id"
    assert look(database, due) == [(True, 2), (False, 0)]
    assert look(database, "SELECT count(*) FROM audit_log WHERE action = 'delivery.retry'") == [(1,)]


async def test_all_dead_ones_of_the_list_are_tried_again_and_the_result_is_told(database: Database) -> None:
    receive(database)
    add_alerts(database, 3, created_at=at(5))
    for job in jobs_of(database):
        change(database, job, DEAD)
    off = add_integration(database, enabled=False)
    arrange(database, f"UPDATE delivery_jobs SET integration_id = '{off}' WHERE job_id = {jobs_of(database)[0]}")
    async with viewing(database) as responder:
        assert "Try all 3 dead again" in plain((await responder.get("/deliveries")).text)
        done = await send(responder, "/deliveries", "/deliveries/+retry", back="state=dead")
        shown = plain((await responder.get(done.headers["Location"])).text)
    assert "2 dead deliveries are tried again. 1 stays dead: the route or its integration is off" in shown
    statuses = "SELECT status FROM delivery_jobs ORDER BY job_id"
    assert look(database, statuses) == [("DEAD",), ("PENDING",), ("PENDING",)]


async def test_cancelling_asks_first_and_works_without_script(database: Database) -> None:
    receive(database)
    add_alert(database, created_at=at(5), summary="Door open")
    [job] = jobs_of(database)
    async with viewing(database) as responder:
        asked = (await responder.get(f"/deliveries/{job}/cancel?back=state%3Dwaiting")).text
        assert "Operations is not told that “Door open” was opened." in plain(asked)
        assert look(database, "SELECT status FROM delivery_jobs") == [("PENDING",)]
        done = await send(responder, "/deliveries", f"/deliveries/{job}/cancel", back="state=waiting")
        assert done.headers["Location"] == "/deliveries?state=waiting&done=cancelled"
        again = await send(responder, "/deliveries", f"/deliveries/{job}/cancel")
        assert again.status_code == 409
    assert look(database, "SELECT status, reason FROM delivery_jobs") == [("SKIPPED", "cancelled")]


async def test_deliveries_of_another_tenant_are_not_there(database: Database) -> None:
    receive(database, "rival")
    add_alert(database, "rival", created_at=at(5))
    [job] = jobs_of(database)
    change(database, job, DEAD)
    async with viewing(database) as responder:
        page = (await responder.get(f"/deliveries?open={job}")).text
        assert listed(page) == []
        assert (await responder.get(f"/deliveries/{job}/cancel")).status_code == 404
        for path in (f"/deliveries/{job}/retry", f"/deliveries/{job}/cancel"):
            assert (await send(responder, "/deliveries", path)).status_code == 404, path
        await send(responder, "/deliveries", "/deliveries/+retry")
    assert look(database, "SELECT status FROM delivery_jobs") == [("DEAD",)]


async def test_rows_numbers_and_tries_change_in_place_and_new_ones_wait(database: Database) -> None:
    receive(database)
    add_alert(database, created_at=at(5))
    [job] = jobs_of(database)
    async with over(database) as served:
        name = await page_name(database, served, f"/deliveries?open={job}")
        change(database, job, RETRYING)
        attempt(database, job, "retry", 503, "maintenance")
        add_alert(database, created_at=at(1))
        served.app.live_pages.forget()
        found = words(await served.app.live_pages.fragments(name, RESPONDER))
        served.app.live_pages.forget()
        assert await served.app.live_pages.fragments("deliveries/rows=x", OPERATOR) == []
    assert found[f"d-{job}-state"].startswith("Next try")
    assert found[f"d-{job}-tries"] == "2 of 9, last 503"
    assert "503 maintenance" in found["delivery-tries"]
    assert "1 new, show" in found["delivery-news"]
    assert found["state-waiting"] == "2"


@pytest.mark.parametrize(
    ("status", "tries", "fills"),
    [
        (JobStatus.PENDING, 0, [FREE] * 9),
        (JobStatus.PENDING, 2, [USED, USED, *[FREE] * 7]),
        (JobStatus.COMPLETED, 2, [USED, DELIVERED, *[FREE] * 7]),
        (JobStatus.DEAD, 1, [FINAL, *[FREE] * 8]),
        (JobStatus.DEAD, 12, [*[USED] * 8, FINAL]),
        (JobStatus.SKIPPED, 0, [FREE] * 9),
    ],
)
def test_pips_are_grey_green_or_red_and_none_for_what_reached_nobody(
    status: JobStatus, tries: int, fills: Sequence[str]
) -> None:
    assert pips(status, tries) == fills
