"""The link in a notice: what it permits, once, to whoever has it, and what ends it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import trio

from appliance.db import roles
from appliance.db.trio_psycopg import connect
from appliance.delivery.links.acknowledge_link import LINK_HOURS, MAX_TOKEN, AcknowledgeLinks
from appliance.keyring import Keyring, new_key
from appliance.web.alerts.views import acknowledge
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.web.api_caller import dashboard
from tests.support.web.browsing import browsing, send
from tests.support.web.parts import KEYRING

INTEGRATION = UUID("11111111-1111-4111-8111-111111111111")
NOW = datetime.now(UTC)
OVER = "/sign-in"
"""A page whose form has this browser's token: that of a link that is over has no form."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A notice of an alert was sent, with a link."""

    database: Database
    alert_id: int
    path: str

    def ask(self, query: str) -> Any:
        """Return the first value of a query."""
        [(value,)] = select(self.database, query)
        return value

    @property
    def status(self) -> str:
        """Return the status of the alert."""
        return str(self.ask(f"SELECT status FROM fleet_alert WHERE id = {self.alert_id}"))

    @property
    def acknowledgements(self) -> int:
        """Return how often it was acknowledged."""
        return int(
            self.ask(f"SELECT count(*) FROM alert_events WHERE alert_id = {self.alert_id} AND kind = 'acknowledged'")
        )


def select(database: Database, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query that sees everything."""
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(query.encode()).fetchall()


async def link_for(database: Database, alert_id: int, *, at: datetime = NOW, keyring: Keyring = KEYRING) -> str:
    connection = await connect(database.conninfo(roles.INGEST))
    try:
        token = await AcknowledgeLinks(keyring).make(connection, "acme", alert_id, INTEGRATION, at)
    finally:
        connection.abandon()
    assert token is not None
    assert len(token) < MAX_TOKEN
    return f"/acknowledge/{token}"


async def notice(database: Database, *, at: datetime = NOW) -> Sent:
    """Have an alert and an integration, and send a link."""
    alert_id = add_alert(database, summary="Freezer too warm", severity="critical", device_id="d1", created_at=NOW)
    arrange(
        database,
        "INSERT INTO integrations (tenant_id, integration_id, name, type, config, created_at, updated_at)"
        f" VALUES ('acme', '{INTEGRATION}', 'On-call', 'webhook', '{{}}', now(), now())",
    )
    return Sent(database, alert_id, await link_for(database, alert_id, at=at))


@asynccontextmanager
async def nobody(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is not signed in."""
    async with dashboard(database) as served, browsing(served) as browser:
        yield browser


async def test_opening_it_shows_the_alert_and_changes_nothing(database: Database) -> None:
    sent = await notice(database)
    async with nobody(database) as browser:
        for _ in range(2):  # as a scanner of mail does
            page = await browser.get(sent.path)
            assert page.status_code == 200
    for part in ("Freezer too warm", "Critical", "d1", "Acknowledge</button>", "On-call"):
        assert part in page.text
    assert page.headers["referrer-policy"] in ("no-referrer", "same-origin"), "the address is a secret"
    assert "no-store" in page.headers["cache-control"]
    assert (sent.status, sent.acknowledgements) == ("OPEN", 0)


async def test_one_press_acknowledges_and_the_audit_names_the_integration(database: Database) -> None:
    sent = await notice(database)
    async with nobody(database) as browser:
        answer = await send(browser, sent.path)
        assert answer.status_code == 303
        done = await browser.get(answer.headers["location"])
        again = await send(browser, sent.path, OVER)
        later = await browser.get(sent.path)
    assert "the receiver of On-call" in done.text
    assert "Acknowledge</button>" not in done.text
    assert (again.status_code, later.status_code) == (410, 410)
    assert "was acknowledged" in later.text
    assert (sent.status, sent.acknowledgements) == ("ACKNOWLEDGED", 1)
    audited = select(database, "SELECT actor, actor_kind, action, object_id FROM audit_log ORDER BY id DESC LIMIT 1")
    assert audited == [("On-call", "integration", "alert.acknowledge", str(sent.alert_id))]
    everything = str(select(database, "SELECT * FROM audit_log")) + str(select(database, "SELECT * FROM alert_events"))
    assert sent.path.rpartition("/")[2] not in everything


async def test_many_presses_at_once_are_one_acknowledgement(database: Database) -> None:
    sent = await notice(database)
    answers: list[int] = []

    async def press(browser: httpx.AsyncClient) -> None:
        answers.append((await send(browser, sent.path)).status_code)

    async with dashboard(database) as served, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(partial(_in_a_browser_of_its_own, served, press))
    assert sorted(set(answers)) == [303, 410]
    assert answers.count(303) == 1
    assert sent.acknowledgements == 1


async def _in_a_browser_of_its_own(served: Any, press: Any) -> None:
    async with browsing(served) as browser:
        await press(browser)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE integrations SET version = version + 1", "integration that it was sent to has changed"),
        ("UPDATE integrations SET enabled = false", "integration that it was sent to has changed"),
        ("DELETE FROM integrations", "integration that it was sent to has changed"),
        ("UPDATE fleet_alert SET status = 'CLOSED', closed_at = now(), close_reason = 'cleared'", "The alert closed"),
        (
            "UPDATE fleet_alert SET status = 'ACKNOWLEDGED', acknowledged_at = now(), acknowledged_by = 'kim'",
            "was acknowledged",
        ),
    ],
)
async def test_it_ends_with_the_alert_and_with_its_integration(database: Database, change: str, why: str) -> None:
    sent = await notice(database)
    arrange(database, change)
    before = sent.status
    async with nobody(database) as browser:
        shown = await browser.get(sent.path)
        pressed = await send(browser, sent.path, OVER)
    assert (shown.status_code, pressed.status_code) == (410, 410)
    assert why in shown.text
    assert (sent.status, sent.acknowledgements) == (before, 0)


async def test_it_ends_after_a_day(database: Database) -> None:
    sent = await notice(database, at=NOW - timedelta(hours=LINK_HOURS, seconds=1))
    async with nobody(database) as browser:
        assert "more than 24 hours ago" in (await browser.get(sent.path)).text
        assert (await send(browser, sent.path, OVER)).status_code == 410
    assert sent.status == "OPEN"


async def test_an_undone_acknowledgement_does_not_bring_it_back_but_a_newer_link_works(database: Database) -> None:
    sent = await notice(database)
    async with nobody(database) as browser:
        await send(browser, sent.path)
        arrange(
            database,
            "UPDATE fleet_alert SET status = 'OPEN', acknowledged_at = NULL, acknowledged_by = NULL",
            "INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind)"
            f" VALUES ('acme', {sent.alert_id}, now(), 'unacknowledged', 'kim', 'user')",
        )
        assert (await send(browser, sent.path, OVER)).status_code == 410
        assert sent.status == "OPEN"
        newer = await link_for(database, sent.alert_id)
        assert (await send(browser, newer)).status_code == 303
    assert sent.acknowledgements == 2


async def test_a_changed_or_foreign_link_opens_nothing(database: Database) -> None:
    sent = await notice(database)
    foreign = await link_for(database, sent.alert_id, keyring=Keyring([new_key()]))
    cut = sent.path[:-1]
    flipped = re.sub(r"(.)(.)$", lambda end: end[2] + end[1], sent.path)
    assert flipped != sent.path or sent.path[-1] == sent.path[-2]
    async with nobody(database) as browser:
        for path in (foreign, cut, sent.path + "A", "/acknowledge/x", "/acknowledge/" + "A" * 2000):
            shown = await browser.get(path)
            assert shown.status_code in (404, 414), path
            assert "Freezer" not in shown.text
    assert sent.status == "OPEN"


async def test_it_stands_in_no_line_of_the_log_when_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("the connection is lost")

    sent = await notice(database)
    monkeypatch.setattr(acknowledge, "state_of", away)
    async with nobody(database) as browser:
        assert (await browser.get(sent.path)).status_code == 503
    logged = capsys.readouterr().out
    assert "the connection is lost" in logged
    assert sent.path.removeprefix("/acknowledge/") not in logged


async def test_a_press_from_another_site_does_nothing(database: Database) -> None:
    sent = await notice(database)
    async with nobody(database) as browser:
        assert (await browser.post(sent.path, headers={"Origin": "https://evil.example"})).status_code == 403
        assert (await browser.post(sent.path)).status_code == 403, "the form carries a token of this browser"
    assert sent.status == "OPEN"
