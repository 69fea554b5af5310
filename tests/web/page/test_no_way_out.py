"""What every page says while notices find no way out, to whom, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest

from appliance.people.role import Role
from appliance.web.page.no_way_out import NoWayOut
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.serving import over
from tests.web.alerts.test_live import page_name, parts
from tests.web.alerts.test_views import plain, viewing

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAWN, DAY = NOON - timedelta(hours=6), NOON - timedelta(days=1)


def away(database: Database, name: str, minutes: float, tenant: str = "acme") -> None:
    """Have an integration reach nobody for so many minutes."""
    integration = add_integration(database, tenant, name=name)
    add_route(database, integration, tenant)
    arrange(
        database,
        "INSERT INTO integration_health (tenant_id, integration_id, failures, unreachable_since)"
        f" VALUES ('{tenant}', '{integration}', 5, now() - interval '{minutes} min')",
    )


async def test_every_page_of_the_tenant_says_so_and_nobody_elses(database: Database) -> None:
    away(database, "Desk", 30)
    add_alert(database)
    add_alert(database)
    arrange(database, "UPDATE delivery_jobs SET reason = 'unreachable', unreachable_since = now()")
    async with viewing(database, Role.VIEWER) as viewer:
        for path in ("/", "/alerts", "/devices", "/rules", "/deliveries", "/profile"):
            text = plain((await viewer.get(path)).text)
            assert "No way out since" in text, path
            assert "2 notices are waiting and will be sent when the connection returns, for up to 7 days." in text, path
            assert "View deliveries" in text, path
    async with viewing(database, tenant="rival") as rival:
        assert "No way out" not in (await rival.get("/alerts")).text
    arrange(database, "UPDATE integration_health SET unreachable_since = NULL")
    async with viewing(database) as responder:
        assert "No way out" not in (await responder.get("/alerts")).text


async def test_a_short_loss_and_a_disabled_integration_are_not_worth_a_banner(database: Database) -> None:
    away(database, "Desk", 1.5)
    away(database, "Old desk", 90)
    arrange(database, "UPDATE integrations SET enabled = false WHERE name = 'Old desk'")
    async with viewing(database) as responder:
        assert "No way out" not in (await responder.get("/alerts")).text


async def test_one_receiver_that_is_away_is_named_while_others_are_reached(database: Database) -> None:
    away(database, "Desk", 30)
    away(database, "Chat", 0)
    arrange(
        database,
        "UPDATE integration_health AS h SET unreachable_since = NULL, last_success_at = now()"
        " FROM integrations AS i WHERE i.integration_id = h.integration_id AND i.name = 'Chat'",
    )
    async with viewing(database) as responder:
        text = plain((await responder.get("/alerts")).text)
    assert "Desk cannot be reached since" in text
    assert "The other integrations work." in text
    assert "No way out" not in text


async def test_the_banner_comes_and_goes_in_place(database: Database) -> None:
    one = add_alert(database)
    async with over(database) as served:
        name = await page_name(database, served, f"/alerts/{one}")
        assert (await parts(served, name))["banners"] == ""
        away(database, "Desk", 30)
        assert (await parts(served, name))["banners"].startswith("No way out since")


@pytest.mark.parametrize(
    ("found", "title", "text"),
    [
        (NoWayOut(NOON, NOON, 1, "Desk", 0, 0, 1), "No way out since 12:00.", "1 notice is waiting and will be sent"),
        (NoWayOut(DAWN, NOON, 2, "Desk", 0, 3, 1), "No way out since 12:00.", "1 notice is waiting and will be sent"),
        (NoWayOut(DAWN, NOON, 3, "Desk", 1, 1, 12), "3 integrations cannot be reached since 06:00.", "12 notices are"),
        (NoWayOut(NOON, NOON, 1, "Desk", 0, 2, 12), "Desk cannot be reached since 12:00.", "12 notices are waiting"),
        (NoWayOut(DAY, DAY, 1, "Desk", 0, 0, 0), "No way out since 22 Nov 12:00.", "No notice is waiting."),
    ],
)
def test_the_words_say_what_is_missing_and_what_waits(found: NoWayOut, title: str, text: str) -> None:
    assert found.title(NOON.timestamp() + 60, UTC) == title
    assert found.text(timedelta(days=7)).startswith(text)
