"""Builds the view of the appliance that the System page, its API and the diagnostics file share.

Most of it is in memory and costs nothing. What is read from Postgres is kept for a moment, however many viewers there
are; while Postgres is not reachable the last values are shown, with their time.
"""

import platform
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec
import structlog
import trio

import appliance
from appliance.backup.nightly import BackupState
from appliance.broker.floods.record import Flooder
from appliance.broker.takeover import SharedClientId
from appliance.clock import Clock
from appliance.db.migrations import shipped
from appliance.db.partitions import read_days
from appliance.db.pool import Pool
from appliance.db.server import ServerFacts, read_facts
from appliance.db.trio_psycopg import Connection
from appliance.diagnostics.latency import Percentiles
from appliance.diagnostics.process_metrics import Disk, Memory, QueueHistory
from appliance.diagnostics.snapshot import BrokerTerms, Dependency, DiskRoom, ResourceLimit, Snapshot
from appliance.ingest.accounting import Accounting, read_accounting
from appliance.peers.store import Peer, list_all
from appliance.runtime.tree import ServiceStatus
from appliance.watchdog.watchdog import EndToEnd
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.platform import Platform
from appliance.web.system.alerts import SystemAlert, count_own_routes, read_alerts
from appliance.web.system.certificates import TlsView, tls_view
from appliance.web.system.clock import ClockView, ServiceClock, view_of
from appliance.web.system.restores import RestoreView, read_restore
from appliance.web.system.retention import RetentionView, retention_view

log = structlog.get_logger(__name__)

T = TypeVar("T")

TODAY_AGE, ALERTS_AGE, PEERS_AGE, FACTS_AGE, ALL_AGE = 2.0, 2.0, 5.0, 30.0, 300.0
"""Seconds for which today's accounting, the alerts, the peers and routes, facts about the server and the accounting of
all time are reused."""
LONGEST_DAY = timedelta(hours=25)
"""What was counted later than the end of today was counted by a wrong clock."""
PATIENCE = 2.0
"""Seconds that a view waits for Postgres."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of everything that runs."""

    program: str
    schema: int | None
    """Of the database; None until it has been read."""
    schema_needed: int
    """The schema version that this program needs."""
    postgres: str | None
    broker: str | None
    python: str
    machine: str


class AccountingRead(msgspec.Struct, frozen=True, rename={"accounting": "books"}):
    """The accounting of a time range, and whether it balances. Times are seconds since 1970."""

    since: float | None
    """None: since the first start."""
    read_at: float
    accounting: Accounting
    balanced: bool


class PeerState(StrEnum):
    """Whether an appliance on the database is there."""

    HERE = "here"
    """It is the one that was asked."""
    LISTENING = "listening"
    AWAY = "away"
    UNKNOWN = "unknown"
    """The clock is in doubt, and so is how long ago it listened."""


class PeerView(msgspec.Struct, frozen=True):
    """An appliance on the database. Times are seconds since 1970."""

    instance: str
    name: str | None
    """The name of its machine; null before its first start with this version."""
    version: str | None
    listened_at: float | None
    """When it last listened to its devices; null: never."""
    devices: int
    """The devices that it heard last."""
    state: PeerState

    @property
    def title(self) -> str:
        """Return its name, or its id as long as it has none."""
        return self.name or self.instance


class SystemView(msgspec.Struct, frozen=True, rename={"dependencies": "companions", "limits": "bounds"}):
    """The appliance as it is now. Times are seconds since 1970, durations are seconds, sizes are bytes."""

    now: float
    clock: ClockView
    restore: RestoreView | None
    """Set while notices are held since a restore."""
    started_at: float
    instance: str
    versions: Versions
    today: AccountingRead | None
    """Since the viewer's midnight. None until Postgres has answered."""
    all_time: AccountingRead | None
    rate: float
    """Messages per second."""
    receive_to_commit: Percentiles | None
    """Of the batches of the last hour; None without batches."""
    commit: Percentiles | None
    queue: QueueHistory
    queue_capacity: int | None
    memory: Memory
    disk: Disk | None
    """The parts of the disk, measured once a minute."""
    room: DiskRoom
    """What is free of it now, and whether that is enough."""
    database: ServerFacts | None
    retention_days: int
    retention: RetentionView | None
    """None until Postgres has answered."""
    dependencies: Sequence[Dependency]
    limits: Sequence[ResourceLimit]
    broker_terms: BrokerTerms | None
    """None for an external broker, whose settings are unknown."""
    flooders: Sequence[Flooder]
    """Users that are shut out of the broker for what they sent, the newest first."""
    shared_client_ids: Sequence[SharedClientId]
    """MQTT client ids that devices of two tenants have used lately, the newest first."""
    tls: TlsView
    backups: BackupState | None
    """Nightly backups; null where no folder is configured."""
    end_to_end: EndToEnd
    """Whether messages get from the broker through commit and rule to the outbox."""
    tasks: Sequence[ServiceStatus]
    peers: Sequence[PeerView]
    """All appliances on the database, this one included; empty until Postgres has answered."""
    alerts: Sequence[SystemAlert]
    """What is wrong with the appliance and its peers: alerts that are not closed, worst first."""
    own_routes: int | None
    """Routes by which somebody is told of them; None until Postgres has answered."""


class _Kept(Generic[T]):
    """A value read from Postgres, read again when it is older than ``age`` seconds."""

    def __init__(self, clock: Clock, age: float, read: Callable[[Connection[Any]], Awaitable[T]]) -> None:
        self._clock = clock
        self._age = age
        self._read = read
        self._read_at = float("-inf")
        self.value: T | None = None

    def is_due(self) -> bool:
        """Return whether it is time to read again."""
        return self._clock.monotonic() - self._read_at >= self._age

    def forget(self) -> None:
        """Make it due."""
        self._read_at = float("-inf")

    async def renew(self, connection: Connection[Any]) -> None:
        """Read the value. Raises psycopg.Error."""
        self.value = await self._read(connection)
        self._read_at = self._clock.monotonic()


class SystemReader:
    """Builds views, for operators: the pool's role sees every tenant."""

    def __init__(self, platform: Platform, snapshot: Snapshot, clock: ServiceClock) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._platform = platform
        self._pool: Pool = platform.pool
        self._facts = _Kept(platform.clock, FACTS_AGE, read_facts)
        self._days = _Kept(platform.clock, FACTS_AGE, read_days)
        self._all_time = _Kept(platform.clock, ALL_AGE, self._read_all_time)
        self._peers = _Kept(platform.clock, PEERS_AGE, self._read_peers)
        self._alerts = _Kept(platform.clock, ALERTS_AGE, self._read_alerts)
        self._own_routes = _Kept(platform.clock, PEERS_AGE, count_own_routes)
        self._restore = _Kept(platform.clock, ALERTS_AGE, read_restore)
        self._today: dict[float, _Kept[AccountingRead]] = {}
        self._turn = trio.Lock()

    async def view(self, midnight: float) -> SystemView:
        """Return the appliance as it is now. ``midnight``: the start of the viewer's day, in seconds since 1970."""
        today = self._todays(midnight)
        kept: list[_Kept[Any]] = [self._facts, self._days, self._all_time, self._peers, self._alerts, self._own_routes]
        await self._renew([today, self._restore, *kept])
        platform, system = self._platform, self._snapshot
        now = platform.clock.now()
        dependencies, facts = system.dependencies(), self._facts.value
        return SystemView(
            now=now,
            clock=view_of(self._clock),
            restore=self._restore.value,
            started_at=now - system.age(),
            instance=system.instance,
            versions=self._versions(dependencies, facts),
            today=today.value,
            all_time=self._all_time.value,
            rate=platform.live.rate(None),
            receive_to_commit=system.process.receive_to_commit.hour(),
            commit=system.process.commit.hour(),
            queue=system.process.queue(),
            queue_capacity=None if system.broker_terms is None else system.broker_terms.queued_messages,
            memory=system.process.memory(),
            disk=system.process.disk,
            room=system.room(),
            database=facts,
            retention_days=system.retention_days,
            retention=self._retention(dependencies),
            dependencies=dependencies,
            limits=system.limits(),
            broker_terms=system.broker_terms,
            flooders=system.flooders(),
            shared_client_ids=system.shared_client_ids(),
            tls=tls_view(platform.certificates, now, trusted=platform.clock.trusted),
            backups=system.backups(),
            end_to_end=system.end_to_end(),
            tasks=system.tasks(now),
            peers=[self._peer(one) for one in self._peers.value or ()],
            alerts=self._alerts.value or [],
            own_routes=self._own_routes.value,
        )

    def _todays(self, midnight: float) -> _Kept[AccountingRead]:
        """Return the kept accounting since a midnight; viewers in different time zones have different ones."""

        async def read(connection: Connection[Any]) -> AccountingRead:
            since = datetime.fromtimestamp(midnight, UTC)
            accounting = await read_accounting(connection, (since, since + LONGEST_DAY))
            return self._checked(accounting, midnight)

        if midnight not in self._today:
            if len(self._today) > 48:  # drops those of yesterday
                self._today.clear()
            self._today[midnight] = _Kept(self._platform.clock, TODAY_AGE, read)
        return self._today[midnight]

    async def _read_all_time(self, connection: Connection[Any]) -> AccountingRead:
        return self._checked(await read_accounting(connection, None), None)

    async def _read_peers(self, connection: Connection[Any]) -> list[Peer]:
        return await list_all(connection, datetime.fromtimestamp(self._platform.clock.now(), UTC))

    async def _read_alerts(self, connection: Connection[Any]) -> list[SystemAlert]:
        return await read_alerts(connection, datetime.fromtimestamp(self._platform.clock.settled(), UTC))

    def forget_peers(self) -> None:
        """Read the peers anew for the next view: one was removed."""
        self._peers.forget()

    def forget_restore(self) -> None:
        """Read anew whether notices are held: somebody has confirmed that the old machine is off."""
        self._restore.forget()

    def _peer(self, peer: Peer) -> PeerView:
        state = PeerState.AWAY if peer.away else PeerState.LISTENING
        if peer.instance == self._platform.instance:
            state = PeerState.HERE
        elif not self._platform.clock.trusted:
            state = PeerState.UNKNOWN
        listened_at = None if peer.listened_at is None else peer.listened_at.timestamp()
        return PeerView(peer.instance, peer.name, peer.version, listened_at, peer.devices, state)

    def _checked(self, accounting: Accounting, since: float | None) -> AccountingRead:
        return AccountingRead(since, self._platform.clock.now(), accounting, accounting.balanced)

    async def _renew(self, kept: Sequence[_Kept[Any]]) -> None:
        """Read what is due from Postgres; one task reads, the others wait and find it done."""
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
            log.debug("system view without postgres", error=str(error))

    def _retention(self, dependencies: Sequence[Dependency]) -> RetentionView | None:
        """Return the days of readings. Only an embedded Postgres keeps them on the disk that is measured here."""
        system, clock, days = self._snapshot, self._platform.clock, self._days.value
        disk = system.process.disk
        if days is None:
            return None
        return retention_view(
            days,
            clock.now(),
            system.retention_days,
            trusted=clock.trusted,
            blocked=system.retention_blocked(),
            free=None if disk is None or not postgres_embedded(dependencies) else disk.free,
            budget=system.budget(),
        )

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


def postgres_embedded(dependencies: Sequence[Dependency]) -> bool:
    """Return whether Postgres is ours, and so on the disk that is measured here."""
    return any(one.name == "Postgres" and one.embedded for one in dependencies)
