"""What devices send of time, position and status, end to end: nothing is lost, reordered or taken for a fault."""

from collections.abc import Iterator

import pytest
import trio

from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.http_caller import Caller
from tests.support.publisher import TENANT, client

BURST = 40
NUMBERS = [b'{"n":%d}' % number for number in range(BURST)]


@pytest.fixture(scope="module")
def serving() -> Iterator[ApplianceProcess]:
    """One appliance for all of them."""
    with started() as process:
        process.tenant(TENANT)
        yield process


def topic(device: str, kind: str = "telemetry") -> str:
    return f"tenant/{TENANT}/device/{device}/{kind}"


async def stored(serving: ApplianceProcess, device: str, count: int) -> None:
    """Return once the device has so many readings."""

    def rows() -> int:
        return int(serving.query("SELECT count(*) FROM telemetry WHERE device_id = %s", device)[0][0])

    with trio.fail_after(60):
        while await trio.to_thread.run_sync(rows) < count:
            await trio.sleep(0.02)


def check_burst(serving: ApplianceProcess, device: str) -> None:
    """All of it is there, each at a time of its own, in the order in which it was sent, and at most a second ahead."""
    rows = serving.query(
        "SELECT (metrics ->> 'n')::int, count(*) OVER (PARTITION BY ts),"
        " ts - received_at BETWEEN interval '0' AND interval '1 second', late"
        " FROM telemetry WHERE device_id = %s ORDER BY ts",
        device,
    )
    assert rows == [(number, 1, True, False) for number in range(BURST)]


async def test_a_burst_without_times_keeps_its_order_over_mqtt(serving: ApplianceProcess) -> None:
    async with client(serving, "burst") as connection:
        await connection.publish_many([(topic("burst"), payload) for payload in NUMBERS])
        await stored(serving, "burst", BURST)
    check_burst(serving, "burst")


@pytest.mark.parametrize(
    ("device", "media", "body"),
    [
        ("array", "application/json", b"[" + b",".join(NUMBERS) + b"]"),
        ("lines", "application/x-ndjson", b"\n".join(NUMBERS)),
    ],
)
async def test_a_burst_without_times_keeps_its_order_over_http(
    serving: ApplianceProcess, device: str, media: str, body: bytes
) -> None:
    caller = Caller(serving, serving.tenant(TENANT)["password"])
    answer = await caller.post(f"/ingest/{topic(device)}", body, {"Content-Type": media})
    assert (answer.status, answer.json()["accepted"]) == (202, BURST)
    check_burst(serving, device)


async def test_half_a_position_and_nine_digits_of_a_second_are_stored(serving: ApplianceProcess) -> None:
    caller = Caller(serving, serving.tenant(TENANT)["password"])
    stamp = serving.query("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')")[0][0]
    payload = b'{"ts":"%b.123456789Z","lat":52.52,"batt":86}' % stamp.encode()
    assert (await caller.post(f"/ingest/{topic('tracker')}", payload)).status == 202
    assert serving.query(
        "SELECT metrics, lat, lng, to_char(ts, 'US'), ts_adjusted FROM telemetry WHERE device_id = 'tracker'"
    ) == [({"lat": 52.52, "batt": 86}, None, None, "123456", False)]


async def test_a_topic_that_is_cleared_is_counted_and_says_nothing_of_the_device(serving: ApplianceProcess) -> None:
    """A retained birth message is cleared as tools do it; the device, and one that never was, are left as they are."""
    before = look(serving.conninfo())
    async with client(serving, "clearing") as connection:
        await connection.publish(topic("kept", "status"), b"Online", retain=True)
        await stored(serving, "kept", 1)
        await connection.publish(topic("kept", "status"), b"", retain=True)
        await connection.publish(topic("kept"), b"", retain=True, qos=0)
        await connection.publish(topic("never"), b"", retain=True)

        def cleared() -> bool:
            return look(serving.conninfo()).cleared == before.cleared + 3

        with trio.fail_after(60):
            while not await trio.to_thread.run_sync(cleared):
                await trio.sleep(0.02)
    after = look(serving.conninfo())
    assert (after.received, after.refused) == (before.received + 4, before.refused)
    assert serving.query("SELECT metrics FROM telemetry WHERE device_id = 'kept'") == [({"status": "online"},)]
    assert serving.query("SELECT count(*) FROM device_registry WHERE device_id = 'never'") == [(0,)]
    assert serving.query("SELECT count(*) FROM quarantine_events WHERE device_id IN ('kept', 'never')") == [(0,)]
