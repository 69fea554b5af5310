"""The ingest half of an appliance over a real database: registry, admission, writer and pipeline, without a broker."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import trio
import trio.testing

from appliance.clock import Clock, SystemClock, offset_in_doubt
from appliance.config import Ingest, Retention
from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST
from appliance.devices.live.offline_statuses import OfflineStatuses
from appliance.devices.live.state_book import StateBook
from appliance.devices.live.state_observer import DeviceStateObserver
from appliance.devices.registry.cache import Registry
from appliance.ingest.admission import Admission
from appliance.ingest.batch import Accepted, Settlement, Submission, Verdict
from appliance.ingest.charging import Charging
from appliance.ingest.limits.allowances import AllowanceNotes, NotedAllowances, TenantAllowances
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.listeners import Listener
from appliance.ingest.observer import Observer
from appliance.ingest.pipeline import Pipeline
from appliance.ingest.summary import BatchSummary
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.ingest.writer import Writer
from appliance.metrics import Metrics
from appliance.reading import Reason, Refusal
from tests.support.limiter import limiter_of
from tests.support.postgres_server import Database
from tests.support.tenants import GRACE, add_tenant, ingest, provisioner_of, sell

TENANT = "acme"
STORED, DUPLICATE = Accepted.STORED, Accepted.DUPLICATE
POISON = "ALTER TABLE telemetry ADD CONSTRAINT no_poison CHECK (metrics->>'poison' IS NULL)"
"""Has Postgres refuse each reading with the metric ``poison``."""
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.005
SOON = 0.02
"""Seconds between two writes of device states and of the roll-up queue; an appliance waits a second."""


@dataclass(frozen=True)
class Message:
    """What a device sent."""

    topic: str
    payload: bytes
    retain: bool = False
    user_properties: tuple[tuple[str, str], ...] = ()


def telemetry(device: str, payload: bytes, tenant: str = TENANT) -> Message:
    """Return a reading of a device."""
    return Message(f"tenant/{tenant}/device/{device}/telemetry", payload)


@dataclass
class IngestStack:
    """Everything between a source and the database."""

    database: Database
    pool: Pool
    states: StateBook
    offline_statuses: OfflineStatuses
    registry: Registry
    limiter: Limiter
    admission: Admission
    writer: Writer
    pipeline: Pipeline
    metrics: Metrics
    summaries: list[BatchSummary] = field(default_factory=list)

    async def submit(
        self,
        messages: Sequence[Message],
        settle: Callable[[list[Verdict]], None],
        *,
        received: float | None = None,
        qos0: frozenset[int] = frozenset(),
    ) -> None:
        """Hand messages over; ``settle`` is called with their verdicts."""

        async def settled(settlement: Settlement) -> None:
            settle(settlement.outcome.verdicts(settlement.first, settlement.last))

        await self.pipeline.submit(Submission(messages, received or time.time(), settled, qos0))

    async def send(
        self, *messages: Message, received: float | None = None, qos0: frozenset[int] = frozenset()
    ) -> list[Verdict]:
        """Send messages and return their verdicts after the commit."""
        done = trio.Event()
        verdicts: list[Verdict] = []

        def settle(found: list[Verdict]) -> None:
            verdicts.extend(found)
            done.set()

        await self.submit(messages, settle, received=received, qos0=qos0)
        with trio.fail_after(PATIENCE_SECONDS):
            await done.wait()
        await trio.testing.wait_all_tasks_blocked()  # what follows from the commit is done behind it
        return verdicts


@asynccontextmanager
async def open_ingest(
    database: Database,
    *,
    conninfo: str | None = None,
    failpoint: Callable[[str], None] = lambda _name: None,
    instance: str = "one",
    batch_size: int = 2000,
    kept_since: KeptSince | None = None,
    clock: Clock | None = None,
    limiter: Limiter | None = None,
    rate: float = 1e6,
    burst: int = 1_000_000,
    tenant_rate: float = 0,
    backlog: float = 0,
    on_held: Callable[[float], None] = lambda _held: None,
    write_interval: float = SOON,
    room: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    no_room: Callable[[], None] = lambda: None,
    further_observers: Sequence[Observer] = (),
    listeners: Sequence[Listener] = (),
) -> AsyncIterator[IngestStack]:
    """Open a running stack; it stops without a drain, like a process that is killed. Its limits are out of reach."""
    clock, metrics, states = clock or SystemClock(), Metrics(), StateBook(10_000)
    async with (
        open_pool(conninfo or database.conninfo(INGEST), name="stack", min_size=2, max_size=6) as pool,
        trio.open_nursery() as nursery,
    ):
        provisioner = provisioner_of(pool)
        await nursery.start(provisioner.run)
        registry = Registry(pool, states, provisioner, clock, capacity=10_000, refusal_ttl=0.0, grace=GRACE)
        if limiter is None:
            noted = NotedAllowances(states, registry.tenant, clock)
            limiter = limiter_of(rate=rate, burst=burst, tenant_rate=tenant_rate, backlog=backlog, allowances=noted.get)
        admission = Admission(
            Ingest(),
            kept_since or KeptSince(Retention().days),
            registry,
            Charging(limiter),
            partial(offset_in_doubt, clock),
        )
        notes = AllowanceNotes(limiter, clock, backlog)
        observers: list[Observer] = [
            DeviceStateObserver(states, instance, write_interval, notes.note),
            TenantAllowances(limiter, clock, backlog),
            *further_observers,
        ]
        writer = Writer(pool, instance, observers, clock, metrics, failpoint, room, no_room)
        summaries: list[BatchSummary] = []
        offline_statuses = OfflineStatuses(states, pool, clock)
        pipeline = Pipeline(
            admission,
            writer,
            states,
            offline_statuses,
            registry,
            metrics,
            clock,
            batch_size,
            [*listeners, summaries.append],
            on_held,
            write_interval,
        )
        await nursery.start(pipeline.run)
        yield IngestStack(
            database, pool, states, offline_statuses, registry, limiter, admission, writer, pipeline, metrics, summaries
        )
        nursery.cancel_scope.cancel()


async def furnish(database: Database, seats: int = 1000, tenant: str = TENANT, strategy: str = "auto") -> None:
    """Add a tenant with a subscription."""
    async with ingest(database) as connection:
        await add_tenant(connection, tenant, strategy)
        await sell(connection, seats, tenant_id=tenant, now=datetime.now(UTC) - timedelta(days=1))


def look(database: Database, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Return rows as the superuser sees them, from a connection that has nothing to do with the stack."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def arrange(database: Database, *statements: str) -> None:
    """Change the database as the superuser."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def until(condition: Callable[[], object]) -> None:
    """Return once ``condition`` holds."""
    with trio.move_on_after(PATIENCE_SECONDS):
        while not condition():
            await trio.sleep(POLL_SECONDS)
        return
    raise AssertionError("it never came true")


def ledger_sums(database: Database) -> dict[str, int]:
    """Return the sums of the ledger, checked against the tables in one snapshot."""
    outcomes = "received", "stored", "refused", "duplicate", "cleared"
    columns = *outcomes, "qos0", "replayed", "evicted", "partition_dropped"
    sums = ", ".join(f"coalesce(sum({column}), 0)::bigint" for column in columns)
    [row] = look(
        database,
        f"SELECT (SELECT count(*) FROM telemetry), (SELECT coalesce(sum(cnt), 0)::bigint"
        f" FROM quarantine_counters_minute), {sums} FROM ingest_ledger",
    )
    in_table, counted, *rest = row
    found = dict(zip(columns, rest, strict=True))
    assert found["received"] == found["stored"] + found["refused"] + found["duplicate"] + found["cleared"]
    assert in_table + found.pop("partition_dropped") == found["stored"] + found["replayed"]
    assert counted == found["refused"]
    return found


def timed(number: int, device: str = "d-1") -> Message:
    """A message with a time of its own, told apart by its number."""
    return telemetry(device, b'{"ts":%d,"n":%d}' % (int(time.time()) - 600, number))


def reasons(verdicts: list[Verdict]) -> list[Reason]:
    """Return why messages were refused, in their order."""
    return [verdict.reason for verdict in verdicts if isinstance(verdict, Refusal)]


def fail_times(database: Database, times: int, sqlstate: str, table: str = "ingest_ledger") -> None:
    """The next ``times`` statements that insert into ``table`` fail; a sequence counts, for it survives a rollback."""
    arrange(
        database,
        "CREATE SEQUENCE IF NOT EXISTS failures",
        "GRANT USAGE ON failures TO PUBLIC",
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('failures') <= {times} THEN"
        f" RAISE EXCEPTION 'made to fail' USING ERRCODE = '{sqlstate}'; END IF; RETURN NULL; END $$",
        "GRANT EXECUTE ON FUNCTION fail() TO PUBLIC",
        f"CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    )
