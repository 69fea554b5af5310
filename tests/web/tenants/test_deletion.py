"""A tenant is deleted by an operator who is asked twice: pages and API."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from appliance.offboarding.kept_copies import CopyKind, KeptCopy
from appliance.people.role import Role
from tests.support.offboarding import fill
from tests.support.postgres_server import Database
from tests.support.web import parts
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import calling, dashboard

TENANT = "acme"


def state_of(database: Database) -> tuple[str, int]:
    """Return the status of the tenant and the number of deletions."""
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute(
            "SELECT status, (SELECT count(*) FROM tenant_deletions) FROM tenants WHERE tenant_id = %s", [TENANT]
        ).fetchone()
        assert row is not None
        return row


async def test_a_tenant_goes_after_two_questions_and_its_page_says_so(database: Database) -> None:
    operator = signed_in(database.conninfo())
    fill(database, TENANT)
    async with dashboard(database) as served, client(served.url, operator) as browser:
        page = (await browser.get(f"/tenants/{TENANT}/delete")).text
        assert re.search(r">1: receivers are not told", page)
        wrong = await browser.post(f"/tenants/{TENANT}/delete", data={"typed": "ACME"})
        assert wrong.status_code == 422
        assert "Type acme exactly" in wrong.text
        again = await browser.post(f"/tenants/{TENANT}/delete", data={"typed": TENANT})
        assert "for good?" in again.text
        assert state_of(database) == ("ACTIVE", 0), "asked once is not enough"
        hidden = dict(re.findall(r'type="hidden" name="(typed|version)" value="([^"]+)"', again.text))
        unread = await browser.post(f"/tenants/{TENANT}/delete/confirm", data={"typed": TENANT})
        assert unread.status_code == 422
        assert state_of(database) == ("ACTIVE", 0)
        done = await browser.post(f"/tenants/{TENANT}/delete/confirm", data=hidden)
        assert done.status_code == 303
        assert state_of(database) == ("DELETING", 1)
        progress = (await browser.get(done.headers["Location"])).text
        assert "Counting what there is" in progress
        assert '<noscript><meta http-equiv="refresh"' in progress
        assert "Being deleted" in (await browser.get("/tenants")).text
        assert "View progress" in (await browser.get(f"/tenants/{TENANT}")).text
        twice = await browser.post(f"/tenants/{TENANT}/delete/confirm", data=hidden)
        assert twice.status_code == 409
        assert state_of(database) == ("DELETING", 1)


async def test_a_tenant_changed_between_the_two_questions_is_asked_for_anew(database: Database) -> None:
    operator = signed_in(database.conninfo())
    fill(database, TENANT)
    async with dashboard(database) as served, client(served.url, operator) as browser:
        again = await browser.post(f"/tenants/{TENANT}/delete", data={"typed": TENANT})
        hidden = dict(re.findall(r'type="hidden" name="(typed|version)" value="([^"]+)"', again.text))
        await browser.post(f"/tenants/{TENANT}/suspend")
        late = await browser.post(f"/tenants/{TENANT}/delete/confirm", data=hidden)
        assert late.status_code == 409
        assert state_of(database) == ("SUSPENDED", 0)


async def test_the_api_wants_the_id_and_the_version_of_the_question(database: Database) -> None:
    fill(database, TENANT)
    path = f"/operator/tenants/{TENANT}/deletion"
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        question = await caller.ask("GET", path)
        assert (question["devices"], question["users"], question["open_alerts"]) == (5, 1, 1)
        wrong = await caller.ask("POST", path, 400, json={"tenant_id": "other", "version": question["version"]})
        assert wrong["field"] == "tenant_id"
        await caller.ask("POST", path, 400, json={"tenant_id": TENANT})
        await caller.ask("POST", path, 409, json={"tenant_id": TENANT, "version": "2026-01-01T00:00:00Z"})
        assert state_of(database) == ("ACTIVE", 0)
        begun = await caller.ask("POST", path, 202, json={"tenant_id": TENANT, "version": question["version"]})
        shown = await caller.ask("GET", f"/operator/tenant-deletions/{begun['deletion_id']}")
        assert (shown["status"], shown["tenant_id"], shown["rows_expected"]) == ("RUNNING", TENANT, None)
        listed = await caller.ask("GET", "/operator/tenant-deletions?limit=1")
        assert listed == {"items": [shown], "next": None}
        await caller.ask("GET", "/operator/tenant-deletions/99", 404)
        await caller.ask("POST", f"/operator/tenants/{TENANT}/resume", 409)
        for tenant in ("appliance", "nobody"):
            await caller.ask("GET", f"/operator/tenants/{tenant}/deletion", 404)
            body = {"tenant_id": tenant, "version": question["version"]}
            await caller.ask("POST", f"/operator/tenants/{tenant}/deletion", 404, json=body)


async def test_with_the_request_the_people_of_the_tenant_are_signed_out(database: Database) -> None:
    operator = signed_in(database.conninfo())
    fill(database, TENANT)
    person = signed_in(database.conninfo(), Role.ADMIN, TENANT)
    async with (
        dashboard(database) as served,
        client(served.url, operator) as browser,
        client(served.url, person) as customer,
    ):
        assert (await customer.get("/")).status_code == 200
        again = await browser.post(f"/tenants/{TENANT}/delete", data={"typed": TENANT})
        hidden = dict(re.findall(r'type="hidden" name="(typed|version)" value="([^"]+)"', again.text))
        assert (await browser.post(f"/tenants/{TENANT}/delete/confirm", data=hidden)).status_code == 303
        assert (await customer.get("/")).headers["Location"].startswith("/sign-in")


async def test_pages_and_api_name_the_copies_that_still_have_its_data(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 5, 1, 3, 15, 2, tzinfo=UTC)
    kept: list[KeptCopy] | None = [
        KeptCopy(CopyKind.REPLACED, "/data/replaced-1", at),
        KeptCopy(CopyKind.UPGRADE, "/data/upgrades/1.tar", at, until=at + timedelta(days=30)),
        KeptCopy(CopyKind.BACKUP, "/backups/1.age", at, newer_backups=2),
    ]

    async def found() -> Sequence[KeptCopy] | None:
        return kept

    monkeypatch.setattr(parts, "no_copies", found)
    fill(database, TENANT)
    asked, listed = f"/operator/tenants/{TENANT}/deletion", "/operator/tenant-deletions"
    operator = signed_in(database.conninfo())
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as caller:
        version = (await caller.ask("GET", asked))["version"]
        begun = await caller.ask("POST", asked, 202, json={"tenant_id": TENANT, "version": version})
        assert begun["copies"] == [
            {"kind": "replaced", "path": "/data/replaced-1", "made_at": "2026-05-01T03:15:02Z"}
            | {"until": None, "newer_backups": None},
            {"kind": "upgrade", "path": "/data/upgrades/1.tar", "made_at": "2026-05-01T03:15:02Z"}
            | {"until": "2026-05-31T03:15:02Z", "newer_backups": None},
            {"kind": "backup", "path": "/backups/1.age", "made_at": "2026-05-01T03:15:02Z"}
            | {"until": None, "newer_backups": 2},
        ]
        assert (await caller.ask("GET", listed))["items"][0]["copies"] == begun["copies"]
        async with client(served.url, operator) as browser:
            for path in ("/tenants/+deletions", f"/tenants/+deletions/{begun['deletion_id']}"):
                page = (await browser.get(path)).text
                assert [copy["path"] for copy in begun["copies"] if copy["path"] not in page] == []
                assert "removed after 2 more nightly backups" in page
                assert re.search(r"removed after \S+ 31 May 2026", page)
                assert "stays until somebody removes it" in page
            kept = None
            assert "cannot be read now" in (await browser.get(path)).text
            assert (await caller.ask("GET", f"{listed}/{begun['deletion_id']}"))["copies"] is None
            kept = [KeptCopy(kind, "/data", at) for kind in CopyKind]
            page = (await browser.get(path)).text
            without_date = (
                "30 days, which begin",
                "named by a wrong clock; stays",
                "moved aside",
            )
            assert [text for text in without_date if text not in page] == []
            kept = []
            assert "keeps no backup or copy" in (await browser.get(path)).text
