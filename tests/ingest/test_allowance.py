"""The allowance from the message to the database and back: a device that was away sends its backlog (P11)."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from appliance.ingest.batch import Accepted, Verdict
from appliance.ingest.http import HttpSource
from appliance.ingest.limits.terms import bucket_key
from appliance.reading import Reason, Refusal
from tests.support.clock import TrustedClock
from tests.support.pipeline import TENANT, IngestStack, Message, arrange, furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database

HOUR = 3600
DAY = 24 * HOUR


class StandingClock(TrustedClock):
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._start = float(round(time.time()))

    def now(self) -> float:
        return self._start + self.passed

    def monotonic(self) -> float:
        return 1000.0 + self.passed


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


async def register(database: Database, clock: StandingClock, device: str = "d1", *, ago: float = 2 * DAY) -> None:
    """Register a device ``ago`` seconds before the clock's time; the first one of its tenant makes the tenant, too."""
    if not look(database, "SELECT 1 FROM tenants WHERE tenant_id <> 'appliance'"):
        await furnish(database)
    registered_at = datetime.fromtimestamp(clock.now() - ago, UTC)
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO device_registry (tenant_id, device_id, status, subscription_id, created_at, updated_at)"
            " SELECT %s, %s, 'ACTIVE', subscription_id, %s, %s FROM subscriptions WHERE tenant_id = %s",
            [TENANT, device, registered_at, registered_at, TENANT],
        )
        connection.execute(
            "UPDATE tenants SET created_at = %s WHERE tenant_id <> 'appliance'", [registered_at - timedelta(days=30)]
        )


def delayed(clock: StandingClock, count: int, device: str = "d1", *, since: float = HOUR) -> list[Message]:
    """Return readings with times of their own, from ``since`` seconds ago on."""
    oldest = round(1000 * (clock.now() - since))
    return [telemetry(device, b'{"ts":%d,"a":1}' % (oldest + number)) for number in range(count)]


def live(count: int, device: str = "d1") -> list[Message]:
    return [telemetry(device, b'{"a":%d}' % number) for number in range(count)]


async def send(stack: IngestStack, clock: StandingClock, messages: list[Message]) -> Counter[str]:
    """Send messages at once; return how many were stored, duplicates, or refused for which reason."""
    return Counter([_word(verdict) for verdict in await stack.send(*messages, received=clock.now())])


def _word(verdict: Verdict) -> str:
    if isinstance(verdict, Refusal):
        return verdict.reason.value
    return verdict.value


STORED, DUPLICATE, LIMITED = Accepted.STORED.value, Accepted.DUPLICATE.value, Reason.RATE_LIMITED.value


async def noted(database: Database, clock: StandingClock, device: str = "d1") -> float:
    """Return in how many seconds bucket and allowance of a device are full, once that is in the database."""
    query = "SELECT extract(epoch FROM allowance_full_at)::float8 FROM device_state WHERE device_id = %s"
    await until(lambda: (rows := look(database, query, device)) and rows[0][0] is not None)
    return float(look(database, query, device)[0][0]) - clock.now()


async def test_a_device_that_was_offline_sends_its_backlog_in_one_go(database: Database, clock: StandingClock) -> None:
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=10, burst=50, backlog=DAY) as stack:
        assert await send(stack, clock, delayed(clock, 720)) == {STORED: 720}
        assert await send(stack, clock, live(50)) == {STORED: 50}, "live ones go on as before"
        assert await send(stack, clock, live(1)) == {LIMITED: 1}


async def test_live_ones_among_a_backlog_are_not_refused_though_the_device_was_not_in_memory(
    database: Database, clock: StandingClock
) -> None:
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=10, burst=50, backlog=DAY) as stack:
        mixed = delayed(clock, 360) + live(25) + delayed(clock, 360, since=DAY // 2) + live(25)
        assert await send(stack, clock, mixed) == {STORED: 770}
        assert await send(stack, clock, live(1)) == {LIMITED: 1}


async def test_an_array_of_a_thousand_is_taken_whole(database: Database, clock: StandingClock) -> None:
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=10, burst=50, backlog=DAY) as stack:
        source = HttpSource(stack.pipeline, stack.registry, stack.limiter, clock, token_demanded=False)
        messages = delayed(clock, 1000)
        verdicts = await source.take(messages[0].topic, [message.payload for message in messages])
        assert verdicts == [Accepted.STORED] * 1000


@pytest.mark.parametrize(("delayed_ones", "live_ones"), [(0, 1), (0, 40), (1, 0), (700, 0), (350, 50)])
async def test_the_rest_passes_when_it_was_told_to_come_again(
    database: Database, clock: StandingClock, delayed_ones: int, live_ones: int
) -> None:
    await register(database, clock, ago=30)
    async with open_ingest(database, clock=clock, rate=10, burst=50, backlog=DAY) as stack:
        source = HttpSource(stack.pipeline, stack.registry, stack.limiter, clock, token_demanded=False)
        assert await send(stack, clock, delayed(clock, 350, since=30) + live(1)) == {STORED: 350, LIMITED: 1}
        rest = delayed(clock, delayed_ones) + live(live_ones)
        assert await send(stack, clock, rest) == {LIMITED: delayed_ones + live_ones}
        wait = source.retry_after(TENANT, "d1", [message.payload for message in rest])
        clock.passed += wait - 1
        assert stack.limiter.retry_after(bucket_key(TENANT, "d1"), clock.monotonic(), live_ones, delayed_ones) > 0
        clock.passed += 1
        assert await send(stack, clock, rest) == {STORED: len(rest)}


async def test_readings_without_a_time_of_their_own_are_limited_as_ever(
    database: Database, clock: StandingClock
) -> None:
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=10, burst=50, backlog=DAY) as stack:
        assert await send(stack, clock, live(720)) == {STORED: 50, LIMITED: 670}


async def test_a_restart_hands_back_nothing_of_a_spent_allowance(database: Database, clock: StandingClock) -> None:
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, delayed(clock, 3000)) == {STORED: 3000}
        assert await noted(database, clock) == 3000
    clock.passed += 60
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, delayed(clock, 1000, since=HOUR / 2)) == {STORED: 665, LIMITED: 335}


async def test_nor_does_a_restart_with_a_higher_limit(database: Database, clock: StandingClock) -> None:
    """The bucket owes 1000 seconds beside the allowance, more than any allowance owes under the limits that follow."""
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=0.005, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, delayed(clock, 18) + live(5)) == {STORED: 23}
        assert await noted(database, clock) == HOUR
    clock.passed += 60
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, delayed(clock, 100)) == {STORED: 65, LIMITED: 35}


async def test_a_device_never_heard_may_make_up_for_the_time_since_it_was_registered(
    database: Database, clock: StandingClock
) -> None:
    await register(database, clock, ago=100)
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, delayed(clock, 200, since=100)) == {STORED: 105, LIMITED: 95}


async def test_an_allowance_that_a_wrong_clock_wrote_counts_as_unknown(
    database: Database, clock: StandingClock
) -> None:
    await register(database, clock)
    arrange(
        database,
        f"INSERT INTO device_state (tenant_id, device_id, allowance_full_at) VALUES ('{TENANT}', 'd1', '2099-01-01')",
    )
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, delayed(clock, 300)) == {STORED: 300}
        await until(lambda: look(database, "SELECT 1 FROM device_state WHERE allowance_full_at < '2099-01-01'"))
        assert await noted(database, clock) == 300


async def test_duplicates_are_charged_and_their_charge_is_written(database: Database, clock: StandingClock) -> None:
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        messages = delayed(clock, 100)
        assert await send(stack, clock, messages) == {STORED: 100}
        assert await noted(database, clock) == 100
        assert await send(stack, clock, messages) == {DUPLICATE: 100}
        full_at = clock.now() + 200
        clock.passed += 2  # until the next write of states is due
        query = "SELECT 1 FROM device_state WHERE extract(epoch FROM allowance_full_at) = %s"
        await until(lambda: look(database, query, full_at))


async def test_a_new_device_is_provisioned_by_what_its_bucket_holds(database: Database, clock: StandingClock) -> None:
    await furnish(database)
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, delayed(clock, 20, since=60)) == {STORED: 5, LIMITED: 15}


async def test_messages_that_nothing_pays_for_provision_nobody(database: Database, clock: StandingClock) -> None:
    await furnish(database, strategy="off")
    async with open_ingest(database, clock=clock, rate=1, burst=5, backlog=HOUR) as stack:
        assert await send(stack, clock, live(5)) == {Reason.UNREGISTERED_DEVICE.value: 5}
        arrange(database, "UPDATE tenants SET provisioning = 'auto' WHERE tenant_id <> 'appliance'")
        assert await send(stack, clock, delayed(clock, 5)) == {LIMITED: 5}
        assert look(database, "SELECT count(*) FROM device_registry") == [(0,)]
        assert await send(stack, clock, live(1)) == {LIMITED: 1}


async def test_the_limit_of_a_tenant_has_an_allowance_of_its_own_that_outlives_the_process(
    database: Database, clock: StandingClock
) -> None:
    devices = [f"d{number}" for number in range(4)]
    for device in devices:
        await register(database, clock, device)
    limits = {"rate": 10.0, "burst": 10, "tenant_rate": 2.0, "backlog": float(HOUR)}
    async with open_ingest(database, clock=clock, **limits) as stack:  # type: ignore[arg-type]
        for device in devices:
            assert await send(stack, clock, delayed(clock, 1500, device)) == {STORED: 1500}
        assert await send(stack, clock, live(2)) == {STORED: 2}
        assert await send(stack, clock, live(1)) == {LIMITED: 1}
        full_at = clock.now() + 3001
        clock.passed += 2  # until the next write is due
        query = "SELECT 1 FROM tenant_allowances WHERE extract(epoch FROM full_at) = %s"
        await until(lambda: look(database, query, full_at))
    async with open_ingest(database, clock=clock, **limits) as stack:  # type: ignore[arg-type]
        left = 2 * HOUR - 6000 + 4
        assert await send(stack, clock, delayed(clock, 2000, "d0", since=HOUR / 2)) == {
            STORED: left,
            LIMITED: 2000 - left,
        }


async def test_the_last_token_of_a_tenant_is_given_back_to_the_device(database: Database, clock: StandingClock) -> None:
    await register(database, clock)
    async with open_ingest(database, clock=clock, rate=10, burst=10, tenant_rate=1, backlog=60) as stack:
        assert await send(stack, clock, delayed(clock, 100, since=30)) == {STORED: 61, LIMITED: 39}
        assert await noted(database, clock) == pytest.approx(6.1)
