"""Everything the System page, its API and the diagnostics file tell, put together in one place.

Most of it is in memory and costs nothing. What Postgres must be asked is kept for a moment, however many look; while
Postgres is away the last that was read stands, with its time.
"""

import platform
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import structlog
import trio

import appliance
from appliance.clock import Clock
from appliance.db.migrations import shipped
from appliance.db.pool import Pool
from appliance.db.server import ServerFacts, read_facts
from appliance.db.trio_psycopg import Connection
from appliance.diagnostics.latency import Percentiles
from appliance.diagnostics.process_metrics import Disk, Memory, QueueHistory
from appliance.diagnostics.snapshot import BrokerTerms, Dependency, ResourceLimit, Snapshot
from appliance.ingest.accounting import Accounting, read_accounting
from appliance.runtime.tree import ServiceStatus
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.platform import Platform

log = structlog.get_logger(__name__)

T = TypeVar("T")

TODAY_AGE, FACTS_AGE, ALL_AGE = 2.0, 30.0, 300.0
"""Seconds for which today's books, the server's facts and the books of all time are good enough."""
PATIENCE = 2.0
"""Seconds that a look waits for Postgres."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What runs."""

    program: str
    schema: int | None
    """Of the database; None while it has not been read."""
    schema_needed: int
    """By this program."""
    postgres: str | None
    broker: str | None
    python: str
    machine: str


@dataclass(frozen=True, slots=True)
class AccountingRead:
    """The books of a span, with the verdict. Times are seconds since 1970."""

    since: float | None
    """None: of all time."""
    read_at: float
    books: Accounting
    balanced: bool


@dataclass(frozen=True, slots=True)
class SystemView:
    """The appliance as it is now. Times are seconds since 1970, spans are seconds, sizes are bytes."""

    now: float
    started_at: float
    instance: str
    versions: Versions
    today: AccountingRead | None
    """Since the viewer's midnight. None while Postgres has not answered yet."""
    all_time: AccountingRead | None
    rate: float
    """Messages a second."""
    receive_to_commit: Percentiles | None
    """Of the batches of the last hour; None without any."""
    commit: Percentiles | None
    queue: QueueHistory
    queue_capacity: int | None
    memory: Memory
    disk: Disk | None
    database: ServerFacts | None
    retention_days: int
    companions: Sequence[Dependency]
    bounds: Sequence[ResourceLimit]
    broker_terms: BrokerTerms | None
    """None with an external broker, whose settings are not ours."""
    tasks: Sequence[ServiceStatus]


class _Kept(Generic[T]):
    """One answer of Postgres, asked for again when it is older than ``age``."""

    def __init__(self, clock: Clock, age: float, read: Callable[[Connection[Any]], Awaitable[T]]) -> None:
        self._clock = clock
        self._age = age
        self._read = read
        self._read_at = float("-inf")
        self.value: T | None = None

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._clock.monotonic() - self._read_at >= self._age

    async def renew(self, connection: Connection[Any]) -> None:
        """Ask. Raises psycopg.Error."""
        self.value = await self._read(connection)
        self._read_at = self._clock.monotonic()


class SystemReader:
    """Puts views together. Operators' pages: the pool's role sees every tenant."""

    def __init__(self, platform: Platform, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._platform = platform
        self._pool: Pool = platform.pool
        self._facts = _Kept(platform.clock, FACTS_AGE, read_facts)
        self._all_time = _Kept(platform.clock, ALL_AGE, self._read_all_time)
        self._today: dict[float, _Kept[AccountingRead]] = {}
        self._turn = trio.Lock()

    async def view(self, midnight: float) -> SystemView:
        """The appliance now. ``midnight`` is when the viewer's day began, in seconds since 1970."""
        today = self._todays(midnight)
        await self._renew([today, self._facts, self._all_time])
        platform, system = self._platform, self._snapshot
        dependencies, facts = system.dependencies(), self._facts.value
        return SystemView(
            now=platform.clock.wall(),
            started_at=system.started_at,
            instance=system.instance,
            versions=self._versions(dependencies, facts),
            today=today.value,
            all_time=self._all_time.value,
            rate=platform.live.rate(),
            receive_to_commit=system.process.receive_to_commit.hour(),
            commit=system.process.commit.hour(),
            queue=system.process.queue(),
            queue_capacity=None if system.broker_terms is None else system.broker_terms.queued_messages,
            memory=system.process.memory(),
            disk=system.process.disk,
            database=facts,
            retention_days=system.retention_days,
            companions=dependencies,
            bounds=system.limits(),
            broker_terms=system.broker_terms,
            tasks=system.tasks(),
        )

    def _todays(self, midnight: float) -> _Kept[AccountingRead]:
        """The books of a day; a day has a few midnights, one a time zone of the viewers."""

        async def read(connection: Connection[Any]) -> AccountingRead:
            return self._judged(await read_accounting(connection, datetime.fromtimestamp(midnight, UTC)), midnight)

        if midnight not in self._today:
            if len(self._today) > 48:  # yesterday's are among them
                self._today.clear()
            self._today[midnight] = _Kept(self._platform.clock, TODAY_AGE, read)
        return self._today[midnight]

    async def _read_all_time(self, connection: Connection[Any]) -> AccountingRead:
        return self._judged(await read_accounting(connection), None)

    def _judged(self, books: Accounting, since: float | None) -> AccountingRead:
        return AccountingRead(since, self._platform.clock.wall(), books, books.balanced)

    async def _renew(self, kept: Sequence[_Kept[Any]]) -> None:
        """Ask Postgres for what is due; one asks, the others find it done."""
        if self._platform.health().postgres is not None:
            return
        try:
            with trio.fail_after(PATIENCE):
                async with self._turn:
                    due = [one for one in kept if one.is_due()]
                    if due:
                        async with self._pool.connection() as connection:
                            for one in due:
                                await one.renew(connection)
        except POSTGRES_AWAY as error:
            log.debug("system without postgres", error=str(error))

    def _versions(self, dependencies: Sequence[Dependency], facts: ServerFacts | None) -> Versions:
        known = {dependency.name: dependency.version for dependency in dependencies}
        postgres = known.pop("Postgres", None)
        return Versions(
            program=appliance.__version__,
            schema=self._snapshot.schema(),
            schema_needed=shipped()[-1].version,
            postgres=postgres if facts is None else facts.version,
            broker=next(iter(known.values()), None),
            python=platform.python_version(),
            machine=platform.machine(),
        )
