"""The dispatcher: wakes a courier for each integration whose jobs are due, and nobody else.

Enters: notifications of the database, and the time. Leaves: couriers. It knows when the next job of each integration
is due, makes held jobs due whose alert, route or window has moved, and takes back leases that have run out.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import restore_hold
from appliance.delivery.outbox.cases import STATEMENTS, bound_lock_waits, moment
from appliance.delivery.outbox.claims import IntegrationKey
from appliance.delivery.outbox.courier import AWAY, Courier, Drain, Equipment
from appliance.delivery.outbox.decisions import HELD
from appliance.runtime.activity import activity

POLL_SECONDS = 5.0
"""Seconds between two looks at the latest: for what a peer has left, and for a notification that was lost."""
PAUSE_SECONDS = 0.05
"""Seconds between two looks at the least, however many notifications come."""
ALERTS_PAUSE_SECONDS = 0.2
"""Seconds between two looks at the least for which alerts that moved are the only reason: many streams of readings move
some with every batch, and what is due comes with a notification of its own."""
DRAIN_SECONDS = 2.0
"""Seconds that sends under way may take once a stop has begun."""
WAKE_SHARE = 0.1
"""Share of the time that may be spent with looking for held jobs to wake, however many are held and alerts move."""
MAX_TENANTS = 1000
"""Tenants that are remembered as moved; of more, all have."""

TakeProbe = Callable[[Connection[Any]], Awaitable[None]]
"""Takes what is in the outbox to prove that it is served: no notice."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Moved:
    """Tenants of which something has moved since the last look."""

    tenants: set[str] = field(default_factory=set)
    all: bool = False

    def __bool__(self) -> bool:
        return self.all or bool(self.tenants)

    def note(self, payload: str) -> None:
        """Take a notification; one that cannot be read concerns everybody."""
        try:
            message = msgspec.json.decode(payload, type=dict[str, object])
            tenants = message.get("tenants")
        except msgspec.MsgspecError:
            tenants = None
        if isinstance(tenants, list) and len(self.tenants) < MAX_TENANTS:
            self.tenants.update(tenant for tenant in tenants if isinstance(tenant, str))
        else:
            self.all = True

    def take(self) -> Iterator[list[str] | None]:
        """Yield the tenants, None for all of them, and forget them; nothing if nothing has moved."""
        tenants, everybody = sorted(self.tenants), self.all
        self.tenants, self.all = set(), False
        if everybody:
            yield None
        elif tenants:
            yield tenants


class Dispatcher:
    """Runs the couriers. ``*_changed`` take what the database tells."""

    def __init__(self, pool: Pool, equipment: Equipment, take_probe: TakeProbe) -> None:
        self._pool = pool
        self._take_probe = take_probe
        self._equipment = equipment
        self._couriers: dict[IntegrationKey, Courier] = {}
        self._drain = Drain()
        self._woken = trio.Event()
        self._due = trio.Event()
        self._looked_at = float("-inf")
        self._alerts = _Moved()
        self._routes = _Moved()
        self._waking = False
        self._wakes_from = float("-inf")
        self._told_of_hold = False
        self.looks = 0
        """Looks that have ended."""

    @property
    def up_to_date(self) -> bool:
        """Return whether nothing has moved that held jobs were not decided on for."""
        return not (self._alerts or self._routes or self._waking)

    @property
    def at_work(self) -> int:
        """The number of integrations whose jobs are being decided on or sent."""
        return len(self._couriers)

    @property
    def under_way(self) -> int:
        """The number of sends under way."""
        return len(self._equipment.busy)

    def wake(self, payload: str = "") -> None:  # noqa: ARG002 - what is due is read from the table
        """Look for due jobs now."""
        self._due.set()
        self._woken.set()

    def alerts_changed(self, payload: str) -> None:
        """Decide again on what is held of alerts that moved."""
        self._alerts.note(payload)
        self._woken.set()

    def routes_changed(self, payload: str) -> None:
        """Decide again on what routes, integrations and maintenance windows hold, since they changed."""
        self._routes.note(payload)
        self.wake()

    def missed(self) -> None:
        """Decide again on everything: notifications may have been lost."""
        self._alerts.all = self._routes.all = True
        self.wake()

    def begin_drain(self) -> None:
        """Claim nothing any more, and give what is under way DRAIN_SECONDS."""
        self._drain.begin(DRAIN_SECONDS)
        for courier in self._couriers.values():
            courier.wake()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dispatch for ever; what an earlier process of this instance has left comes first."""
        self._alerts.all = True
        task_status.started()
        backoff = Backoff(first=0.2, maximum=POLL_SECONDS)
        own, taken_back = True, float("-inf")
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    self._woken, self._due = trio.Event(), trio.Event()
                    activity().begins()
                    try:
                        if trio.current_time() - taken_back >= POLL_SECONDS:
                            await self._equipment.settling.take_back(self._equipment.busy, own=own)
                            own, taken_back = False, trio.current_time()
                        wait = await self._look(nursery)
                    except AWAY as error:
                        note = log.debug if activity().failing else log.warning
                        note("deliveries wait", error=str(error).strip())
                        activity().failed(error)
                        wait = backoff.next()
                    else:
                        backoff.reset()
                        self.looks += 1
                        activity().did()
                    activity().doing(
                        f"{len(self._couriers)} couriers at work" if self._couriers else "waits for notices"
                    )
                    await self._rest(wait)
            finally:
                self._drain.begin(DRAIN_SECONDS)

    async def _rest(self, wait: float) -> None:
        """Wait until jobs may be due, until alerts have moved and may be looked at again, or ``wait`` seconds."""
        with trio.move_on_after(wait):
            await self._woken.wait()
            with trio.move_on_at(max(self._wakes_from, self._looked_at + ALERTS_PAUSE_SECONDS)):
                await self._due.wait()
        await trio.sleep(PAUSE_SECONDS)

    async def _look(self, nursery: trio.Nursery) -> float:
        """Start couriers for what is due; return the seconds to the next look."""
        self._looked_at = trio.current_time()
        async with self._equipment.database, self._pool.connection() as connection:
            if await self._held(connection):
                await self._take_probe(connection)
                return POLL_SECONDS
            await self._wake_held(connection)
            rows = await (await connection.execute(STATEMENTS["due_integrations"])).fetchall()
            await self._take_probe(connection)
        wait, now = POLL_SECONDS, self._equipment.clock.now()
        if self._alerts or self._routes:
            wait = min(wait, max(0.0, self._wakes_from - trio.current_time()))
        for tenant_id, integration_id, due_at, concurrency in rows:
            until = due_at.timestamp() - now
            if until <= 0:
                self._start(nursery, (tenant_id, integration_id), concurrency)
            else:
                wait = min(wait, until)
        return wait

    async def _held(self, connection: Connection[Any]) -> bool:
        """Return whether nothing is sent since a restore; what is due then says so."""
        hold = await restore_hold.read(connection)
        if hold is None:
            return False
        if not self._told_of_hold:
            self._told_of_hold = True
            log.warning("notices are held: restored from a backup", backup_of=hold.made_at.isoformat())
        now = moment(self._equipment.clock.now())
        try:
            async with connection.transaction():
                await bound_lock_waits(connection)
                await restore_hold.hold_due(connection, now)
        except psycopg.errors.LockNotAvailable as error:
            log.warning("held deliveries are not marked: somebody holds their rows", error=str(error).strip())
        return True

    async def _wake_held(self, connection: Connection[Any]) -> None:
        """Make held jobs due whose alert, route or window has moved; later, if somebody holds one of their rows."""
        began = trio.current_time()
        if began < self._wakes_from or self.up_to_date:
            return
        routes, alerts = self._routes, self._alerts
        self._routes, self._alerts = _Moved(), _Moved()
        self._waking = True
        try:
            if await self._any_waiting(connection):
                await self._wake(connection, "wake_all_held", routes, self._routes)
                await self._wake(connection, "wake_held", alerts, self._alerts)
        except AWAY:
            self._routes.all = self._alerts.all = True
            raise
        finally:
            self._waking = False
        ended = trio.current_time()
        self._wakes_from = ended + (ended - began) / WAKE_SHARE

    async def _any_waiting(self, connection: Connection[Any]) -> bool:
        """Return whether a job is not due yet. Usually none is, and nothing is held."""
        now = moment(self._equipment.clock.now())
        return await (await connection.execute(STATEMENTS["any_waiting"], {"now": now})).fetchone() == (True,)

    async def _wake(self, connection: Connection[Any], statement: str, moved: _Moved, again: _Moved) -> None:
        """Make jobs of tenants that have ``moved`` due; ``again`` is given those of a try that fails."""
        clock = self._equipment.clock
        common = {"now": moment(clock.now()), "settled": moment(clock.settled()), "held": [one.value for one in HELD]}
        for tenants in moved.take():
            try:
                async with connection.transaction():
                    await bound_lock_waits(connection)
                    await connection.execute(STATEMENTS[statement], common | {"tenants": tenants}, prepare=False)
            except psycopg.errors.LockNotAvailable as error:
                again.all = True
                log.warning("held deliveries wait: somebody holds their rows", error=str(error).strip())

    def _start(self, nursery: trio.Nursery, key: IntegrationKey, concurrency: int) -> None:
        courier = self._couriers.get(key)
        if courier is not None:
            courier.wake(concurrency)
        elif not self._drain.begun:
            courier = self._couriers[key] = Courier(key, self._equipment, self._drain, concurrency)
            nursery.start_soon(courier.run, partial(self._ended, key))

    def _ended(self, key: IntegrationKey) -> None:
        del self._couriers[key]
