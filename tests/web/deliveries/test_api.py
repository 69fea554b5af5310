"""``/customer/deliveries``: as programs read deliveries, send dead ones again, and cancel what waits."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.people.role import Role
from appliance.web.deliveries import labels
from tests.support.alerts import OPENED_AT, add_alert, add_alerts
from tests.support.couriers import DELIVERED, NOON, PlayedSender, SetClock, answering, open_couriers, rows
from tests.support.couriers import REFUSED as REFUSED_ANSWER
from tests.support.couriers import close as close_alert
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.api_caller import calling, dashboard

PATH = "/customer/deliveries"


def receive(database: Database, tenant_id: str = "acme") -> None:
    add_route(database, add_integration(database, tenant_id, name="Ops"), tenant_id, name="All")


def kill(database: Database, *alerts: int) -> None:
    rows(
        database,
        "UPDATE delivery_jobs SET status = 'DEAD', reason = 'exhausted', finished_at = %s, tries = 9"
        " WHERE alert_id = ANY (%s)",
        OPENED_AT,
        list(alerts),
    )


def ids(page: dict[str, Any]) -> list[int]:
    return [item["alert_id"] for item in page["items"]]


async def test_deliveries_are_listed_newest_first_and_filtered(database: Database) -> None:
    receive(database)
    receive(database, "globex")
    one, two, three = add_alerts(database, 3)
    add_alert(database, "globex")
    kill(database, two)
    [(route, integration)] = rows(
        database, "SELECT route_id, integration_id FROM integration_routes WHERE tenant_id = 'acme'"
    )
    async with dashboard(database) as served, calling(served, database, Role.VIEWER) as viewer:
        assert ids(await viewer.ask("GET", PATH)) == [three, two, one]
        page = await viewer.ask("GET", f"{PATH}?limit=2")
        assert ids(page) == [three, two]
        assert ids(await viewer.ask("GET", f"{PATH}?limit=2&cursor={page['next']}")) == [one]
        assert ids(await viewer.ask("GET", f"{PATH}?status=DEAD")) == [two]
        assert ids(await viewer.ask("GET", f"{PATH}?status=DEAD&status=PENDING&alert_id={one}")) == [one]
        assert ids(await viewer.ask("GET", f"{PATH}?event=CLOSED")) == []
        assert len(ids(await viewer.ask("GET", f"{PATH}?route_id={route}&integration_id={integration}"))) == 3
        assert ids(await viewer.ask("GET", f"{PATH}?since={OPENED_AT.timestamp() + 1}")) == []
        assert len(ids(await viewer.ask("GET", f"{PATH}?until={OPENED_AT.timestamp() + 1}"))) == 3
        [dead] = (await viewer.ask("GET", f"{PATH}?status=DEAD"))["items"]
        wrong = await viewer.raw("GET", f"{PATH}?since=soon")
    assert (dead["route_name"], dead["integration_name"], dead["integration_type"]) == ("All", "Ops", "webhook")
    assert (dead["alert_summary"], dead["severity"], dead["reason"]) == ("temperature above 8", "high", "exhausted")
    assert (wrong.status_code, wrong.json()["field"]) == (400, "since")


async def test_a_list_is_exported_as_it_is_shown(database: Database) -> None:
    receive(database)
    one, two = add_alerts(database, 2)
    async with dashboard(database) as served, calling(served, database) as admin:
        answer = await admin.raw("GET", f"{PATH}?alert_id={two}", headers={"Accept": "text/csv"})
    [row] = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert (row["alert_id"], row["status"], row["event"]) == (str(two), "PENDING", "OPEN")
    assert one != two


async def test_a_dead_delivery_is_sent_again_with_its_end_and_tells_its_attempts(database: Database) -> None:
    receive(database)
    sender, clock = PlayedSender(answering(REFUSED_ANSWER)), SetClock()
    async with dashboard(database) as served, calling(served, database, Role.RESPONDER) as responder:
        async with open_couriers(database, sender, clock=clock) as couriers:
            one = add_alert(database, created_at=datetime.fromtimestamp(NOON, UTC))
            await couriers.rest()
            close_alert(database, one, NOON)
            await couriers.rest()
            end, opening = [item["job_id"] for item in (await responder.ask("GET", PATH))["items"]]
            refused = await responder.raw("POST", f"{PATH}/{end}/retry")
            sender.answer = answering(DELIVERED)
            clock.at = datetime.now(UTC).timestamp() + 60
            answer = await responder.raw("POST", f"{PATH}/{opening}/retry")
            await couriers.rest()
        whole = await responder.ask("GET", f"{PATH}/{opening}")
        ended = await responder.ask("GET", f"{PATH}/{end}")
    assert (refused.status_code, refused.json()["present_status"]) == (409, "SKIPPED")
    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (200, "PENDING", "by_hand")
    assert sender.told() == [("OPEN", one), ("OPEN", one), ("CLOSED", one)]
    assert len({notice.message_id for notice in sender.sent[:2]}) == 1
    assert (whole["status"], ended["status"]) == ("COMPLETED", "COMPLETED")
    assert [attempt["outcome"] for attempt in whole["attempts"]] == ["delivered", "refused"]
    assert [attempt["http_status"] for attempt in whole["attempts"]] == [200, 400]


async def test_all_dead_ones_of_a_filter_are_sent_again_but_not_by_a_disabled_integration(database: Database) -> None:
    receive(database)
    receive(database, "globex")
    one, two, three = add_alerts(database, 3)
    foreign = add_alert(database, "globex")
    kill(database, one, two, three, foreign)
    statuses = "SELECT alert_id, status FROM delivery_jobs ORDER BY job_id"
    async with dashboard(database) as served, calling(served, database, Role.RESPONDER) as responder:
        first = await responder.raw("POST", f"{PATH}/retry", json={"alert_id": two})
        rows(database, "UPDATE integrations SET enabled = false")
        disabled = await responder.raw("POST", f"{PATH}/retry", json={})
        [job] = [row[0] for row in rows(database, "SELECT job_id FROM delivery_jobs WHERE alert_id = %s", one)]
        conflict = await responder.raw("POST", f"{PATH}/{job}/retry")
        rows(database, "UPDATE integrations SET enabled = true")
        rest = await responder.raw("POST", f"{PATH}/retry", json={})
        wrong = await responder.raw("POST", f"{PATH}/retry", json={"status": "DEAD"})
    assert [answer.json().get("retried") for answer in (first, disabled, rest)] == [1, 0, 2]
    assert conflict.status_code == 409
    assert "enable the integration first" in conflict.json()["detail"]
    assert wrong.status_code == 400
    assert rows(database, statuses) == [(one, "PENDING"), (two, "PENDING"), (three, "PENDING"), (foreign, "DEAD")]
    audited = rows(database, "SELECT object_id FROM audit_log WHERE action = 'delivery.retry' ORDER BY 1")
    assert audited == [("1 delivery",), ("2 deliveries",)]


async def test_what_waits_is_cancelled_and_what_is_over_is_not(database: Database) -> None:
    receive(database)
    one = add_alert(database)
    rows(database, "UPDATE delivery_jobs SET next_run_at = %s", OPENED_AT + timedelta(days=9))
    [(job,)] = rows(database, "SELECT job_id FROM delivery_jobs")
    async with dashboard(database) as served, calling(served, database, Role.RESPONDER) as responder:
        done = await responder.raw("POST", f"{PATH}/{job}/cancel")
        again = await responder.raw("POST", f"{PATH}/{job}/cancel")
        missing = await responder.raw("POST", f"{PATH}/{job + 99}/cancel")
    assert (done.json()["status"], done.json()["reason"]) == ("SKIPPED", "cancelled")
    assert (again.status_code, again.json()["present_status"], missing.status_code) == (409, "SKIPPED", 404)
    assert one


async def test_who_may_only_read_sends_nothing(database: Database) -> None:
    receive(database)
    kill(database, add_alert(database))
    async with dashboard(database) as served, calling(served, database, Role.VIEWER) as viewer:
        answers = [await viewer.raw("POST", f"{PATH}/1/{step}") for step in ("retry", "cancel")]
    assert {answer.status_code for answer in answers} == {403}


def test_every_code_has_its_label() -> None:
    assert set(labels.REASONS) == set(Reason)
    assert set(labels.STATUSES) == set(JobStatus)
    assert set(labels.EVENTS) == set(JobEvent)
    assert set(labels.RECEIPTS) == set(Receipt)
