"""The numbers beside the navigation: what they say, and whose they are."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from appliance.people.role import Role
from appliance.web.http.cookies import SESSION
from appliance.web.page.nav_counts import NavCount, NavCounts
from tests.support.alerts import add_alert
from tests.support.couriers import rows
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.routes import add_integration
from tests.support.web.accounts import Person, client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import over, without_database
from tests.support.web.stand_ins import OPERATOR

DISMISS = "UPDATE quarantine_events SET status = 'DISMISSED', decided_at = now(), decided_by = 'somebody'"
FAR = datetime(2199, 1, 1, tzinfo=UTC)
NONE = NavCounts(devices=0, waiting=0, held=0)


def beside(html: str) -> dict[str, str]:
    """The numbers of a page's navigation, as they are read out."""
    found = re.findall(r'<span class="n[^"]*" id="n-(\w+)">(.*?)</span></a>', html)
    return {name: re.sub("<[^>]*>", "", inner).removesuffix("</span>") for name, inner in found}


@pytest.mark.parametrize(
    ("counts", "path", "shown"),
    [
        (NONE, "/devices", None),
        (NONE, "/quarantine", None),
        (NavCounts(466, 0, 212), "/devices", NavCount(466, spoken="in all")),
        (NavCounts(466, 3, 212), "/devices", NavCount(3, shown="waiting")),
        (NavCounts(466, 3, 212), "/quarantine", NavCount(212, spoken="held")),
        (NavCounts(466, 3, 212), "/sites", None),
        (NavCounts(466, 3, 212), "/alerts", None),
        (NavCounts(466, 3, 212, 11), "/alerts", NavCount(11, spoken="open", hot=True)),
        (NavCounts(466, 3, 212, 11), "/routes", None),
        (NavCounts(466, 3, 212, 11, retried=2), "/routes", NavCount(2, shown="failing", hot=True)),
    ],
)
def test_a_line_says_what_there_is_unless_something_waits(counts: NavCounts, path: str, shown: NavCount | None) -> None:
    assert counts.beside(path) == shown


async def test_everybody_sees_their_own_numbers_on_every_page(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id)"
        " VALUES (now(), now(), 'acme'), (now(), now(), 'rival')",
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        ""
        " VALUES (now(), now(), 'acme', 'a', 'INACTIVE'), (now(), now(), 'acme', 'b', 'DECOMMISSIONED'),"
        " (now(), now(), 'rival', 'c', 'PENDING')",
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, reason, payload) VALUES"
        " (now(), 't', 'acme', 'INVALID_JSON', ''), (now(), 't', 'acme', 'INVALID_METRIC', ''),"
        " (now(), 't', 'rival', 'INVALID_JSON', ''), (now(), 't', NULL, 'BAD_TOPIC_FORMAT', '')",
        DISMISS + " WHERE reason = 'INVALID_METRIC'",
    )
    add_alert(database, "acme")
    for other in ({"status": "ACKNOWLEDGED"}, {"status": "CLOSED"}, {"inhibited_by": 1}, {"silenced_until": FAR}):
        add_alert(database, "rival", **other)
    failing = add_integration(database, "rival")
    arrange(
        database,
        "INSERT INTO integration_health (tenant_id, integration_id, failures, failing_since)"
        f" VALUES ('rival', '{failing}', 1, now())",
    )
    acme = {"alerts": "1 open", "devices": "1 in all", "quarantine": "1 held", "routes": ""}
    rival = {"alerts": "", "devices": "1 waiting", "quarantine": "1 held", "routes": "1 failing"}
    everybody = {"alerts": "1 open", "devices": "1 waiting", "quarantine": "3 held", "routes": "1 failing"}
    async with over(database) as served:
        for role, tenant, asked, shown in (
            (Role.VIEWER, "acme", "", acme),
            (Role.VIEWER, "rival", "?tenant=acme", rival),
            (Role.OPERATOR, None, "?tenant=acme", acme),
            (Role.OPERATOR, None, "", everybody),
        ):
            person = signed_in(database.conninfo(), role, tenant)
            async with client(served.url, person) as http:
                for path in ("/", "/quarantine", "/more", "/profile"):
                    found = beside((await http.get(path + asked)).text)
                    assert found == shown, (role, tenant, path)
        arrange(database, DISMISS)
        async with client(served.url, signed_in(database.conninfo(), Role.VIEWER, "acme")) as http:
            assert beside((await http.get("/more")).text) == acme | {"quarantine": "", "routes": ""}


async def test_live_pages_bring_the_viewers_own_numbers_whatever_tenant_is_asked_for(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id)"
        " VALUES (now(), now(), 'acme'), (now(), now(), 'rival')",
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'rival', 'c', 'PENDING')",
    )
    own = replace(OPERATOR, tenant_id="acme", role=Role.VIEWER)
    async with over(database) as served:
        for seen_by, found in ((own, ""), (OPERATOR, "1 waiting")):
            parts = {
                part.element_id: part.html for part in await served.app.live_pages.fragments("overview/rival", seen_by)
            }
            assert re.sub("<[^>]*>", "", parts["n-devices"]).strip() == found


async def test_a_page_without_the_numbers_is_a_page_nonetheless() -> None:
    async with without_database() as served, client(served.url, None, cookies={SESSION.name: "x"}) as http:
        answered = await http.get("/more")
    assert answered.status_code == 200
    assert beside(answered.text) == {"alerts": "", "devices": "", "quarantine": "", "routes": ""}


MINUTE = timedelta(minutes=1)


async def test_every_page_says_that_notices_do_not_get_out_to_those_concerned(database: Database) -> None:
    now = datetime.now(UTC)
    health = (
        "INSERT INTO integration_health (tenant_id, integration_id, failing_since, unreachable_since, last_success_at,"
        " last_failure_at) VALUES (%s, %s, %s, %s, %s, %s)"
    )
    ours = [add_integration(database) for _ in range(2)]
    theirs = add_integration(database, "rival")
    for tenant, integration, lost, reached in (
        ("acme", ours[0], now - 5 * MINUTE, now - 60 * MINUTE),
        ("acme", ours[1], now - 4 * MINUTE, now - 6 * MINUTE),
        ("rival", theirs, None, now - MINUTE),
    ):
        rows(database, health, tenant, integration, lost, lost, reached, lost)
    people = {tenant: signed_in(database.conninfo(), Role.VIEWER, tenant) for tenant in ("acme", "rival")}
    operator = signed_in(database.conninfo(), Role.OPERATOR)

    async def shown(person: Person, query: str = "") -> list[str]:
        async with client(served.url, person) as http:
            return re.findall(
                r'class="banner">.*?<span>(.*?)</span>', (await http.get(f"/more{query}")).text, re.DOTALL
            )

    async with dashboard(database) as served:
        assert ["No way out since" in text for text in await shown(people["acme"])] == [True]
        assert ["No way out since" in text for text in await shown(operator, "?tenant=acme")] == [True]
        assert await shown(people["rival"]) == []
        assert await shown(operator) == [], "somebody is reached: there is a way out"
        rows(database, "UPDATE integration_health SET unreachable_since = NULL, failing_since = NULL")
        add_alert(database, alert_type="INTEGRATION_FAILING", details={"integration_id": str(ours[0])})
        assert await shown(people["acme"]) == ["An integration does not deliver its notices."]
        assert await shown(people["rival"]) == []
