"""The live parts of the pages of alerts: what changes in place, what is new, and whose it is."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
import trio

from appliance.alerts.alert import ALERTS_CHANNEL
from appliance.db import roles
from appliance.db.changes import Changes
from appliance.db.trio_psycopg import connect
from appliance.people.role import Role
from appliance.web.access.auth import Viewer
from appliance.web.live.parts import LivePart
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import Served, over
from tests.support.web.stand_ins import OPERATOR

NOW = datetime.now(UTC)
RESPONDER = replace(OPERATOR, tenant_id="acme", role=Role.RESPONDER)


async def page_name(database: Database, served: Served, path: str) -> str:
    """Open a page as a responder; the name of its live page."""
    async with client(served.url, signed_in(database.conninfo(), Role.RESPONDER)) as asking:
        found = re.search(r'data-page="([^"]+)"', (await asking.get(path)).text)
    assert found is not None
    return unescape(found[1])


async def parts(served: Served, name: str, seen_by: Viewer = RESPONDER) -> dict[str, str]:
    """The text of each part, rendered anew."""
    served.app.live_pages.forget()
    served.app.nav_counts.forget()
    return words(await served.app.live_pages.fragments(name, seen_by))


def words(found: Sequence[LivePart]) -> dict[str, str]:
    return {part.element_id: re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", part.html)).strip() for part in found}


async def test_new_alerts_are_counted_and_rows_change_in_place(database: Database) -> None:
    old = add_alert(database, created_at=NOW - timedelta(hours=1))
    just_before = add_alert(database, created_at=datetime.now(UTC), severity="low")
    async with over(database) as served:
        name = await page_name(database, served, "/alerts")
        before = await parts(served, name)
        assert "0 new" in before["alert-news"], "what was there when the page was made is not new"
        new = add_alert(database, created_at=datetime.now(UTC), severity="critical")
        arrange(
            database,
            "UPDATE fleet_alert SET status = 'ACKNOWLEDGED', acknowledged_at = now(), acknowledged_by = 'kim'"
            f" WHERE id = {old}",
        )
        after = await parts(served, name)
    assert "1 new, show" in after["alert-news"]
    assert (before[f"a-{old}-marks"], after[f"a-{old}-marks"]) == ("", "Acknowledged")
    assert ("Acknowledge" in before[f"a-{old}-acts"], "Acknowledge" in after[f"a-{old}-acts"]) == (True, False)
    assert f"a-{just_before}-marks" in after
    assert not any(part.startswith(f"a-{new}-") for part in after), "no row comes by itself"
    assert after["page-title"].startswith("(2) Alerts")
    assert after["n-alerts"] == after["b-alerts"] == "2 open"
    assert re.search(r"Open 2 .*Acknowledged 1", after["alert-tabs"])


async def test_an_alert_that_the_filter_leaves_out_is_not_new(database: Database) -> None:
    add_alert(database, created_at=NOW - timedelta(hours=1))
    async with over(database) as served:
        name = await page_name(database, served, "/alerts?severity=low")
        add_alert(database, created_at=datetime.now(UTC), severity="critical")
        assert "0 new" in (await parts(served, name))["alert-news"]
        add_alert(database, created_at=datetime.now(UTC), severity="low")
        assert "1 new" in (await parts(served, name))["alert-news"]


async def test_one_alert_and_an_opened_row_follow(database: Database) -> None:
    one = add_alert(database, created_at=NOW)
    async with over(database) as served:
        names = [await page_name(database, served, path) for path in (f"/alerts/{one}", f"/alerts?open={one}")]
        arrange(
            database,
            f"UPDATE fleet_alert SET status = 'CLOSED', closed_at = now(), close_reason = 'cleared' WHERE id = {one}",
            "INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)"
            f" VALUES ('acme', {one}, now(), 'closed', '{{\"reason\": \"cleared\"}}')",
        )
        for name in names:
            after = await parts(served, name)
            assert "Closed" in after["alert-timeline"], name
            assert "Acknowledge" not in after["alert-steps"], name
            assert "The condition ended" in after["alert-cause"], name


async def test_nobody_follows_alerts_of_another_tenant(database: Database) -> None:
    theirs = add_alert(database, "rival", summary="Not yours", created_at=NOW)
    async with over(database) as served:
        signed_in(database.conninfo(), Role.RESPONDER)
        for name in (
            f"alert/{theirs}?tenant=rival",
            f"alerts/tenant=rival&rows={theirs}&since=0",
            f"alerts/tenant=rival&open={theirs}&rows={theirs}&known=&since=0",
        ):
            found = await parts(served, name)
            assert "Not yours" not in "".join(found.values()), name
            assert "1 new" not in found.get("alert-news", ""), name
            assert not any(part.startswith(f"a-{theirs}-") for part in found), name


@pytest.mark.parametrize(
    "name",
    ["alert/x", "alert/1?range=2h", "alert/", "alert/99999999999999999999?", "alerts/rows=x", "alerts/rows=1&since=x",
     "alerts/tenant=../x", "alerts/tab=none", f"alerts/rows={'.'.join(['1'] * 999)}", "alerts/since=1e400"],
)  # fmt: skip
async def test_a_name_that_no_page_has_gets_nothing(database: Database, name: str) -> None:
    async with over(database) as served:
        if name in served.app.live_pages:
            seen_by = OPERATOR if "tenant" in name else RESPONDER
            assert not any(part.startswith(("a-", "alert")) for part in await parts(served, name, seen_by))


async def test_a_notification_of_any_process_makes_pages_fresh_at_once(database: Database) -> None:
    """What was rendered just before is not sent again, and sockets that wait are woken."""
    async with over(database) as served:
        name = await page_name(database, served, "/alerts")
        changes = Changes(lambda: connect(database.conninfo(roles.INGEST)), [ALERTS_CHANNEL])
        changes.subscribe(ALERTS_CHANNEL, served.app.alerts_changed, served.app.alerts_changed)
        async with trio.open_nursery() as nursery:
            await nursery.start(changes.run)
            await served.app.live_pages.fragments(name, RESPONDER)
            version = served.platform.live.version
            add_alert(database, created_at=datetime.now(UTC))
            await served.platform.live.changed(version)
            assert "1 new" in words(await served.app.live_pages.fragments(name, RESPONDER))["alert-news"]
            nursery.cancel_scope.cancel()
