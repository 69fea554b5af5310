"""A device that is deleted with its history and registered again starts anew."""

from appliance.clock import SystemClock
from appliance.devices import erasure
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from tests.support.pipeline import TENANT, furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, ingest

PRESENCE = """
SELECT presence_of(s, d.interval_seconds, w), s.latest
FROM device_registry AS d LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
"""


async def test_a_device_that_is_deleted_with_its_history_and_registered_again_was_never_heard(
    database: Database,
) -> None:
    await furnish(database)
    async with open_ingest(database) as stack, ingest(database) as connection:
        await stack.send(telemetry("d-1", b'{"old":1}'))
        await until(lambda: look(database, PRESENCE) == [("ONLINE", {"old": 1})])
        await changes.delete(connection, TENANT, "d-1", BY, keep_history=False)
        await erasure.erase_marked(stack.pool, SystemClock())
        await changes.create(connection, TENANT, NewDevice("d-1"), BY, grace=GRACE)
        assert look(database, PRESENCE) == [("NEW", None)]
        stack.registry.changed('{"devices": [["acme", "d-1"]]}')
        await stack.send(telemetry("d-1", b'{"new":2}'))
        await until(lambda: look(database, PRESENCE) == [("ONLINE", {"new": 2})])
