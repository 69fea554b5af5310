"""The live parts of the list of maintenance windows."""

from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.web.serving import over
from tests.support.web.stand_ins import OPERATOR
from tests.web.alerts.test_live import page_name, parts


async def test_a_window_that_begins_is_active_in_place(database: Database) -> None:
    arrange(
        database,
        f"INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '{TENANT}')",
        "INSERT INTO maintenance_windows (created_at, created_by, updated_at, tenant_id, window_id, name, kind, starts,"
        f" ends, time_zone) VALUES (now(), 'x', now(), '{TENANT}', '6f1c2c1e-0000-4000-8000-000000000001', 'Defrost',"
        " 'once', now() + interval '2 days', now() + interval '9 days', 'UTC')",
    )
    of = "m-6f1c2c1e-0000-4000-8000-000000000001"
    async with over(database) as served:
        name = await page_name(database, served, "/maintenance")
        before = await parts(served, name)
        assert before[f"{of}-next"].endswith("next start")
        assert before["maintenance-active"] == ""
        arrange(database, "UPDATE maintenance_windows SET starts = now() - interval '2 days'")
        after = await parts(served, name)
        assert after[f"{of}-next"].startswith("Active now ends in")
        assert after[f"{of}-acts"] == "End now"
        assert after["maintenance-active"].startswith("1 window is active.")
        assert f"{of}-next" in await parts(served, "maintenance/list=1", OPERATOR)
        assert f"{of}-next" not in await parts(served, "maintenance/list=1&tenant=rival", OPERATOR)
