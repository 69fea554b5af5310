"""Who was told of an alert, and why: what each route made of it, and what becomes of its notices."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from appliance.delivery.outbox.job import JobStatus, Reason, Receipt
from appliance.people.role import Role
from appliance.web.deliveries import labels
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.serving import over
from tests.web.alerts.test_live import RESPONDER, page_name, parts
from tests.web.alerts.test_views import at, plain, viewing

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


def rows(html: str) -> dict[str, str]:
    """The routes of the alert's page, by name, each with its words."""
    card = html.partition('id="alert-routing"')[2].partition("</section>")[0]
    return {
        plain(found[1]): plain(found[0])
        for found in re.finditer(r'<tr role="row">.*?class="title" href="[^"]*">(.*?)</a>.*?</tr>', card, re.DOTALL)
    }


def told(html: str, alert_id: int) -> str:
    """What the row of the list says of deliveries."""
    found = re.search(rf'id="a-{alert_id}-told">(.*?)</span>', html)
    assert found is not None
    return unescape(re.sub("<[^>]*>", "", found[1]))


def settle(database: Database, name: str, change: str) -> None:
    """Set what became of the notices of a route."""
    arrange(
        database,
        f"UPDATE delivery_jobs SET {change} WHERE route_id = (SELECT route_id FROM integration_routes"
        f" WHERE name = '{name}')",
    )


COMPLETED = "status = 'COMPLETED', receipt = 'confirmed', attempts = 1, tries = 1, finished_at = now()"
DEAD = "status = 'DEAD', reason = 'refused', receipt = 'refused', attempts = 1, tries = 1, finished_at = now()"


async def test_the_page_says_of_each_route_in_order_why_it_tells_and_why_not(database: Database) -> None:
    slack, mail = add_integration(database, type="slack", name="Chat"), add_integration(database, type="email")
    add_route(database, slack, name="Second", priority=20, severities=["high", "critical"], stop=True)
    add_route(database, mail, name="First", priority=10, severities=["low"])
    add_route(database, slack, name="Closing", priority=15, deliver_on=["CLOSED"])
    add_route(database, mail, name="Stopped", priority=30)
    add_route(database, mail, name="Switched off", priority=40, enabled=False)
    one = add_alert(database, created_at=at(5))
    settle(database, "Second", COMPLETED)
    async with viewing(database) as responder:
        html = (await responder.get(f"/alerts/{one}")).text
    found = rows(html)
    assert list(found) == ["First", "Closing", "Second", "Stopped", "Switched off"]
    assert "Does not match: Low only" in found["First"]
    assert "Not matched Nothing is sent." in found["First"]
    assert "Does not match: Closed only On close Sent when the alert closes." in found["Closing"]
    assert "Matches: High Matches: All sites Matches: Opened Delivered Opened: delivered." in found["Second"]
    assert "The closing notice will follow" in found["Second"]
    assert "Does not match: An earlier route stops Not reached Second stops here." in found["Stopped"]
    assert "Off The route is off." in found["Switched off"]
    assert "Why was somebody told?" in plain(html)
    assert "1 of 5 routes match" in plain(html)


async def test_an_unrouted_alert_says_so_with_the_next_step_to_those_who_may_take_it(database: Database) -> None:
    one = add_alert(database)
    async with viewing(database, Role.ADMIN) as admin:
        html = (await admin.get(f"/alerts/{one}")).text
        assert "Why was nobody told? Unrouted. There are no routes yet, so nobody is told." in plain(html)
        assert 'href="/routes/+new"' in html
        assert "1 open alert is unrouted: nobody is told." in plain((await admin.get("/")).text)
    add_route(database, add_integration(database), severities=["info"])
    async with viewing(database, Role.VIEWER) as viewer:
        html = (await viewer.get(f"/alerts/{one}")).text
        assert "No route takes this alert" in plain(html)
        assert "/routes/+new" not in html
        assert told((await viewer.get("/alerts")).text, one) == "Unrouted"


async def test_what_a_person_or_another_alert_keeps_back_is_not_unrouted(database: Database) -> None:
    cause = add_alert(database, status="CLOSED", created_at=at(9))
    add_alert(database, silenced_until=datetime.now(UTC) + timedelta(hours=1), silenced_by="kim", created_at=at(8))
    add_alert(database, inhibited_by=cause, created_at=at(7))
    add_alert(database, status="ACKNOWLEDGED", created_at=at(6))
    async with viewing(database) as responder:
        assert "unrouted: nobody is told" not in plain((await responder.get("/")).text)


async def test_an_inhibited_alert_names_its_cause_and_says_when_it_would_be_told(database: Database) -> None:
    add_route(database, add_integration(database), name="Desk")
    add_route(database, add_integration(database), name="Closing", deliver_on=["CLOSED"])
    cause = add_alert(database, summary="Hall is silent", created_at=at(9))
    one = add_alert(database, inhibited_by=cause, created_at=at(8))
    arrange(
        database,
        "UPDATE delivery_jobs SET reason = 'inhibited', next_run_at = now() + interval '10 min'"
        f" WHERE alert_id = {one}",
    )
    async with viewing(database) as responder:
        html = (await responder.get(f"/alerts/{one}")).text
        assert "On hold Inhibited by Hall is silent." in rows(html)["Desk"]
        assert "Sent when that alert closes, if this one is still open" in rows(html)["Desk"]
        assert "1 of 2 routes matches now, 1 on hold" in plain(html)
        assert "Nothing is sent while another alert stands for it." in rows(html)["Closing"]
        assert told((await responder.get("/alerts?tab=inhibited")).text, one) == "Not sent"


async def test_the_list_counts_the_routes_that_told(database: Database) -> None:
    for name in ("Chat", "Mail", "Phone"):
        add_route(database, add_integration(database), name=name)
    one = add_alert(database, created_at=at(5))
    past = add_alert(database, status="CLOSED", past=True, created_at=at(4))
    arrange(database, f"DELETE FROM delivery_jobs WHERE alert_id = {past}")
    async with viewing(database) as responder:
        settle(database, "Chat", COMPLETED)
        assert told((await responder.get("/alerts")).text, one) == "1 of 3, 2 waiting"
        settle(database, "Mail", DEAD)
        assert told((await responder.get("/alerts")).text, one) == "1 of 3, 1 dead"
        settle(database, "Mail", COMPLETED + ", reason = NULL")
        settle(database, "Phone", "status = 'SKIPPED', reason = 'cancelled', finished_at = now()")
        assert told((await responder.get("/alerts")).text, one) == "2 of 3"
        assert told((await responder.get("/alerts?tab=closed")).text, past) == "Not sent"
        assert "2 of 3 routes delivered it." in plain((await responder.get(f"/alerts?open={one}")).text)


async def test_a_failed_try_stands_in_the_timeline_with_its_delivery_and_in_place(database: Database) -> None:
    add_route(database, add_integration(database), name="Desk")
    one = add_alert(database, created_at=at(5))
    async with over(database) as served:
        name = await page_name(database, served, f"/alerts/{one}")
        assert "Sent as soon as its turn comes." in (await parts(served, name))["alert-routing"]
        settle(database, "Desk", "reason = 'retrying', tries = 2, attempts = 2, next_run_at = now() + interval '2 min'")
        arrange(
            database,
            "INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome, http_status)"
            " SELECT tenant_id, job_id, now(), 800, 'retry', 503 FROM delivery_jobs",
        )
        changed = await parts(served, name)
        raw = {part.element_id: part.html for part in await served.app.live_pages.fragments(name, RESPONDER)}
    assert "Desk failed, 503 in 0.8 s Webhook, try 2 of 9, next at" in changed["alert-timeline"]
    assert "Waiting 2 of 9 tries, last: 503 in 0.8 s. Next try" in changed["alert-routing"]
    assert 'href="/deliveries?open=' in raw["alert-timeline"]


async def test_a_route_that_is_gone_or_new_is_told_apart(database: Database) -> None:
    """What was written as a notice counts, not what a route would do by now."""
    add_route(database, add_integration(database), name="Old")
    one = add_alert(database, created_at=at(5))
    settle(database, "Old", COMPLETED)
    add_route(database, add_integration(database), name="New")
    arrange(database, "DELETE FROM integration_routes WHERE name = 'Old'")
    async with viewing(database) as responder:
        html = (await responder.get(f"/alerts/{one}")).text
    assert "Not sent It was set up or changed after the alert opened." in rows(html)["New"]
    assert "Deleted route Webhook Delivered Opened: delivered." in plain(html)


async def test_nobody_sees_the_routes_or_notices_of_another_tenant(database: Database) -> None:
    one = add_alert(database)
    add_route(database, add_integration(database, "rival"), "rival", name="Secret desk")
    async with viewing(database) as responder:
        assert "Secret desk" not in (await responder.get(f"/alerts/{one}")).text
    async with viewing(database, tenant="rival") as rival:
        assert (await rival.get(f"/alerts/{one}")).status_code == 404


def test_every_reason_and_every_state_has_its_words() -> None:
    assert set(labels.REASONS) == set(Reason)
    assert all(text[0].isupper() and not text.endswith(".") for text in labels.REASONS.values())
    later = NOW + timedelta(minutes=4)
    for status in JobStatus:
        shown = labels.state_label(status, None, Receipt.NONE, later, now=NOW, zone=UTC)
        assert shown.text, status


@pytest.mark.parametrize(
    ("status", "reason", "receipt", "text"),
    [
        (JobStatus.COMPLETED, None, Receipt.CONFIRMED, "Delivered"),
        (JobStatus.SKIPPED, Reason.MERGED, Receipt.CONFIRMED, "Delivered"),
        (JobStatus.SKIPPED, Reason.MERGED, Receipt.NONE, "Merged"),
        (JobStatus.SKIPPED, Reason.OVERTAKEN, Receipt.NONE, "Skipped"),
        (JobStatus.SKIPPED, Reason.CANCELLED, Receipt.NONE, "Cancelled"),
        (JobStatus.DEAD, Reason.EXHAUSTED, Receipt.POSSIBLE, "Dead"),
        (JobStatus.PENDING, None, Receipt.NONE, "In 4 min"),
        (JobStatus.PENDING, Reason.QUIET_HOURS, Receipt.NONE, "On hold"),
        (JobStatus.PENDING, Reason.UNREACHABLE, Receipt.NONE, "Waiting for connection"),
        (JobStatus.PENDING, Reason.RETRYING, Receipt.REFUSED, "Next try 14:04"),
        (JobStatus.PROCESSING, None, Receipt.NONE, "Sending"),
    ],
)
def test_a_notice_is_in_one_state(status: JobStatus, reason: Reason | None, receipt: Receipt, text: str) -> None:
    shown = labels.state_label(status, reason, receipt, NOW + timedelta(minutes=4), now=NOW, zone=UTC)
    assert shown.text == text


def test_why_a_notice_waits_names_its_end_where_there_is_one() -> None:
    later = NOW + timedelta(hours=3)
    assert labels.held_text(Reason.QUIET_HOURS, later, now=NOW, zone=UTC) == "Quiet hours of the route, until 17:00."
    assert labels.held_text(Reason.WAITING, later, now=NOW, zone=UTC).endswith("comes first.")
