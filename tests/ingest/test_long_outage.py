"""Fifteen minutes without Postgres: the real pipeline, limiter, backlog and database under a clock that is turned by
hand (P11). The traffic is compressed in time and the arithmetic is not: every message of every second is sent."""

import time
from collections import Counter, deque
from contextlib import closing

import psycopg
import trio

from appliance.config import Config
from appliance.db.roles import OWNER
from appliance.ingest.batch import Accepted, Verdict
from appliance.ingest.limits.backlog import CALM_LOOKS, RETURNING, BacklogCredit
from appliance.reading import Reason, Refusal
from tests.support.clock import TrustedClock
from tests.support.limiter import limiter_of
from tests.support.pipeline import (
    TENANT,
    IngestStack,
    Message,
    furnish,
    ledger_sums,
    look,
    open_ingest,
    telemetry,
    until,
)
from tests.support.postgres_server import TEMPLATE, PostgresServer, create_database, make_template

DEVICES = 200
AWAY = 15 * 60
"""Seconds; each device sends one message in each of them."""
BEFORE, AFTER = 10, 20
PATIENCE_SECONDS = 60.0


class Hands(TrustedClock):
    """A clock that is turned by hand: both of its faces."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._start = time.time() - 2000

    def now(self) -> float:
        return self._start + self.passed

    def monotonic(self) -> float:
        return self.passed


class Broker:
    """The broker's queue for the appliance, and its window: QoS 1, so nothing is forgotten before it is settled."""

    def __init__(self, stack: IngestStack, clock: Hands, window: int, batch: int) -> None:
        self._stack, self._clock = stack, clock
        self._window, self._batch = window, batch
        self._queue: deque[Message] = deque()
        self._changed = trio.Event()
        self._number = 0
        self.unsettled = 0
        self.verdicts: Counter[Accepted | Reason] = Counter()

    def publish(self, device: str) -> None:
        """A device's message of this second."""
        ts = round(self._clock.now() * 1000)
        self._queue.append(telemetry(device, b'{"ts":%d,"seq":%d,"temperature":21.5}' % (ts, self._number)))
        self._number += 1
        self._changed.set()

    @property
    def published(self) -> int:
        return self._number

    async def deliver(self) -> None:
        """Hand over as many as the window takes, for ever."""
        while True:
            room = min(self._batch, self._window - self.unsettled, len(self._queue))
            if room > 0:
                part = [self._queue.popleft() for _ in range(room)]
                self.unsettled += room
                await self._stack.submit(part, self._settle, received=self._clock.now())
            else:
                self._changed = trio.Event()
                await self._changed.wait()

    def _settle(self, verdicts: list[Verdict]) -> None:
        self.unsettled -= len(verdicts)
        for verdict in verdicts:
            self.verdicts[verdict.reason if isinstance(verdict, Refusal) else verdict] += 1
        self._changed.set()

    async def settled(self) -> None:
        """Return when the queue is empty and everything was settled."""
        with trio.fail_after(PATIENCE_SECONDS):
            while self._queue or self.unsettled:
                await trio.sleep(0.02)


async def seconds(clock: Hands, broker: Broker, count: int, devices: list[str]) -> None:
    """So many seconds pass, and each device sends a message in each."""
    for _ in range(count):
        clock.passed += 1
        for device in devices:
            broker.publish(device)
        await trio.lowlevel.checkpoint()


def drained(backlog: BacklogCredit, clock: Hands) -> None:
    """So much time passes with an idle window that the backlog counts as drained."""
    clock.passed += RETURNING
    for _ in range(CALM_LOOKS):
        backlog.look(0)


async def states_are_being_written(
    hand: psycopg.Connection, stack: IngestStack, clock: Hands, broker: Broker, device: str
) -> None:
    """Return when the writer waits, with a batch of nothing but device states, for a lock that ``hand`` holds."""
    clock.passed += 1  # the last states are due
    await until(lambda: not stack.states.changed())
    hand.execute("LOCK TABLE device_state IN SHARE MODE")
    broker.publish(device)
    await broker.settled()
    clock.passed += 1
    await until(lambda: look(stack.database, "SELECT 1 FROM pg_locks WHERE NOT granted"))


async def outage(devices: list[str], new_device: str | None = None, *, writing: bool = False) -> None:
    """The whole story: life, no Postgres for AWAY seconds, life again; then the limits are in force as ever."""
    config = Config()
    clock = Hands()
    limits, ingest = config.limits, config.ingest
    limiter = limiter_of(
        rate=limits.rate, burst=limits.burst, tenant_rate=limits.tenant_rate, bucket_ttl=limits.bucket_ttl,
        max_tracked_devices=limits.max_tracked_devices,
    )  # fmt: skip
    backlog = BacklogCredit(limiter, clock, ingest.receive_max)
    with PostgresServer() as server:
        await make_template(server)
        database = create_database(server, template=TEMPLATE, owner=OWNER)
        await furnish(database)
        async with (
            open_ingest(
                database, batch_size=ingest.batch_size, clock=clock, limiter=limiter, on_held=backlog.away
            ) as stack,
            trio.open_nursery() as nursery,
        ):
            broker = Broker(stack, clock, ingest.receive_max, ingest.batch_size // 2)
            nursery.start_soon(broker.deliver)
            await seconds(clock, broker, BEFORE, devices)
            await broker.settled()
            drained(backlog, clock)  # what passed while the devices were registered counts no more

            with closing(psycopg.connect(database.conninfo())) as hand:
                if writing:
                    await states_are_being_written(hand, stack, clock, broker, devices[0])
                server.stop()
            if new_device is not None:
                broker.publish(new_device)
            await seconds(clock, broker, AWAY, devices)
            assert broker.unsettled > 0
            server.start()
            await seconds(clock, broker, AFTER, devices)
            await broker.settled()
            assert broker.verdicts == {Accepted.STORED: broker.published}

            # The backlog is drained after a while, and then nobody may send more than its burst.
            drained(backlog, clock)
            for _ in range(limits.burst + 10):
                broker.publish(devices[0])
            await broker.settled()
            nursery.cancel_scope.cancel()
        assert broker.verdicts[Reason.RATE_LIMITED] == 10
        assert ledger_sums(database)["stored"] == broker.published - 10
        numbers = look(database, "SELECT count(DISTINCT seq), count(*) FROM telemetry WHERE tenant_id = %s", TENANT)
        assert numbers == [(broker.published - 10, broker.published - 10)]


async def test_fifteen_minutes_without_postgres_refuse_nobody_and_lose_nothing() -> None:
    await outage([f"d{number}" for number in range(DEVICES)])


async def test_nor_do_they_when_a_new_device_was_being_looked_up_as_it_began() -> None:
    """A batch is held before its commit then, and others are admitted ahead of it. Each device has much of them."""
    await outage([f"d{number}" for number in range(5)], new_device="new")


async def test_nor_do_they_when_device_states_were_being_written_as_it_began() -> None:
    """No batch is held then, and yet nothing is taken."""
    await outage([f"d{number}" for number in range(5)], writing=True)
