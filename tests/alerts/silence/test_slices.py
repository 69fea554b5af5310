"""How the devices of a slice are read."""

import psycopg

from appliance.alerts.silence.store import STATEMENTS
from tests.alerts.silence.fleet import open_fleet
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.tenants import TENANT

SLICE = {"tenant": TENANT, "device": "d-1000", "until_tenant": TENANT, "until_device": "d-1256"}
ASKED = ("tenants", "least", "metric_tenants", "metrics", "metric_least", "alerted")


async def test_a_slice_reads_the_registry_once_and_not_device_by_device(database: Database) -> None:
    async with open_fleet(database) as fleet:
        names = [f"d-{number:04}" for number in range(2000)]
        await fleet.add(*names)
        await fleet.connection.execute("DELETE FROM device_state WHERE device_id > 'd-0200'")
        await fleet.hear(*names[:200], at=0)
        arrange(database, "VACUUM ANALYZE device_registry, device_state")
    parameters = {name: f"${number}" for number, name in enumerate((*SLICE, *ASKED), 1)}
    slices = ", ".join(f"'{one}'" for one in SLICE.values()) + ", '{}'" * len(ASKED)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE slice AS {STATEMENTS['list_quiet_devices'] % parameters}".encode())
        plan = connection.execute(f"EXPLAIN EXECUTE slice ({slices})".encode()).fetchall()
    bounded = [line for (line,) in plan if "Index Cond" in line and "ROW(" in line]
    assert len(bounded) == 1
    assert "s.device_id" not in bounded[0], "each look for one device would read the slice up to it"
