"""What messages do to the presence of their devices."""

import time

from appliance.devices.live.unaccepted_traffic import UnacceptedTraffic
from appliance.reading import Reason
from tests.support.pipeline import TENANT, Message, furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database

PRESENCE = """
SELECT d.device_id, presence_of(s, d.interval_seconds, w), s.refused_reason
FROM device_registry AS d LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
"""


def status(word: str, device: str = "d-1") -> Message:
    return Message(f"tenant/{TENANT}/device/{device}/status", word.encode())


def presences(database: Database) -> dict[str, tuple[str, str | None]]:
    return {device: (presence, reason) for device, presence, reason in look(database, PRESENCE)}


async def test_a_message_makes_a_device_online(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'))
        await until(lambda: presences(database) == {"d-1": ("ONLINE", None)})


async def test_a_metric_named_status_is_no_offline_status(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(status("online"), telemetry("d-1", b'{"status":"offline"}'))
        await until(lambda: presences(database) == {"d-1": ("ONLINE", None)})
        assert len(stack.offline_statuses) == 0


async def test_a_device_that_is_no_longer_accepted_is_refused_with_the_reason(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'))
        await stack.send(telemetry("d-1", b'{"t":'))
        await until(lambda: presences(database) == {"d-1": ("REFUSED", Reason.INVALID_JSON.value)})
        await stack.send(telemetry("d-1", b'{"t":2}'))
        await until(lambda: presences(database)["d-1"][0] == "ONLINE")


async def test_the_interval_is_learned_and_kept(database: Database) -> None:
    await furnish(database)
    start = int(time.time()) - 100_000
    async with open_ingest(database) as stack:
        for number in range(4):
            await stack.send(telemetry("d-1", b'{"t":1}'), received=start + 600.0 * number)
            expected = 600.0 if number else None
            await until(lambda: look(database, "SELECT learned_interval FROM device_state") == [(expected,)])  # noqa: B023
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'), received=start + 50_000.0)
        state = stack.states.get((TENANT, "d-1"))
        assert state is not None
        assert state.interval_estimator.interval == 600.0


async def test_a_gap_in_which_we_took_nothing_is_not_learned(database: Database) -> None:
    await furnish(database)
    start = int(time.time()) - 100_000
    async with open_ingest(database) as stack:
        for at in (0, 600, 1200, 1800, 10_000):
            if at == 10_000:
                stack.states.interrupted(round((start + 9_999) * 1e6))
            await stack.send(telemetry("d-1", b'{"t":1}'), received=float(start + at))
            await until(lambda: stack.states.changed() == [])
        assert look(database, "SELECT learned_interval FROM device_state") == [(600.0,)]


async def test_a_registered_device_that_sends_only_rubbish_is_refused_though_nobody_looked_it_up(
    database: Database,
) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'))
        await until(lambda: presences(database) == {"d-1": ("ONLINE", None)})
    async with open_ingest(database) as stack:  # a restart: nothing is in memory
        await stack.send(telemetry("d-1", b'{"t":'), telemetry("nobody", b'{"t":'))
        assert await UnacceptedTraffic(stack.states, stack.registry).look() == 1
        await until(lambda: presences(database) == {"d-1": ("REFUSED", Reason.INVALID_JSON.value)})
    assert look(database, "SELECT device_id FROM device_registry") == [("d-1",)]


async def test_a_device_over_its_limit_is_not_refused(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"t":1}'))
        stack.states.heard((TENANT, "d-1"), round((time.time() + 5) * 1e6), None)
        await until(lambda: look(database, "SELECT last_heard_at > last_seen_at FROM device_state") == [(True,)])
        assert presences(database) == {"d-1": ("ONLINE", None)}
