"""A courier: carries the jobs of one integration for as long as there are any.

It claims as many jobs as its integration may send at a time, sends each in a task of its own, and writes down how that
went. Whatever goes wrong in it is its own affair: it begins anew, after growing pauses, and no other courier notices.
"""

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.delivery.integrations.integration import Integration, secret_purpose
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.cases import moment
from appliance.delivery.outbox.claims import Claimed, Claims, IntegrationKey
from appliance.delivery.outbox.leases import Lease
from appliance.delivery.outbox.settlements import Settlements
from appliance.delivery.outbox.settling import Settling, Tried
from appliance.delivery.outbox.slots import Slots
from appliance.delivery.outgoing.network import Network
from appliance.delivery.senders.sender import Outcome, Sender, Target, Verdict
from appliance.errors import ApplianceError
from appliance.keyring import Keyring
from appliance.metrics import Metrics

AWAY = (psycopg.Error, OSError)
"""What is raised while Postgres is away."""
DATABASE_TASKS = 3
"""Couriers that use the database at a time: the pool is the stream's as well."""
BEFORE_SETTLED = "before_delivery_settled"
"""The failpoint between the answer of a receiver and the commit that records it."""
GIVE_BACK_SECONDS = 1.0
"""Seconds for giving leases back at a stop; otherwise the next start takes them back."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds before a courier begins anew after an error."""
FRUITLESS_SECONDS = 0.25
"""Seconds before the next claim after one that found nothing to do, as behind what is being sent."""
FULL_SECONDS = 1.0
"""Seconds before the next claim after one that found no room; the end of a send makes room at once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What couriers work with."""

    instance: str
    claims: Claims
    settling: Settling
    senders: Mapping[str, Sender]
    network: Network
    keyring: Keyring
    clock: Clock
    metrics: Metrics
    failpoint: Callable[[str], None]
    page: Callable[[str], str]
    """Returns the address of a path of the dashboard."""
    send_seconds: float
    """After which a try is given up, whatever its sender does; shorter than a lease."""
    slots: Slots = field(default_factory=Slots)
    database: trio.CapacityLimiter = field(default_factory=partial(trio.CapacityLimiter, DATABASE_TASKS))
    busy: set[int] = field(default_factory=set)
    """Jobs that this process works on: it never claims them, whatever their leases say."""
    settlements: Settlements = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settlements", Settlements(self.settling, self.database))


class Drain:
    """Whether the couriers are to stop, and when the sends under way are cut off."""

    def __init__(self) -> None:
        self.begun = False
        self._deadline = float("inf")
        self._scopes: set[trio.CancelScope] = set()

    def begin(self, seconds: float) -> None:
        """Let nothing begin any more, and cut off in ``seconds`` what is under way."""
        if not self.begun:
            self.begun = True
            self._deadline = trio.current_time() + seconds
            for scope in self._scopes:
                scope.deadline = self._deadline

    def enter(self, scope: trio.CancelScope) -> None:
        """Cut off ``scope`` with the others."""
        scope.deadline = self._deadline
        self._scopes.add(scope)

    def leave(self, scope: trio.CancelScope) -> None:
        """Forget a scope that has ended."""
        self._scopes.discard(scope)


class Courier:
    """Carries the jobs of one integration."""

    def __init__(self, key: IntegrationKey, equipment: Equipment, drain: Drain, concurrency: int) -> None:
        """``concurrency``: of the integration, as far as is known."""
        self._key = key
        self._concurrency = concurrency
        self._equipment = equipment
        self._drain = drain
        self._wanted = True
        """Whether to claim: something may be due that no claim has seen."""
        self._left = False
        """Whether the last claim has left what is due, for want of room."""
        self._rests_until = float("-inf")
        self._woken = trio.Event()
        self._under_way = 0
        self._backoff = Backoff(first=FIRST_PAUSE, maximum=LONGEST_PAUSE)

    def wake(self, concurrency: int | None = None) -> None:
        """Look for jobs again: one may be due. ``concurrency``: of the integration, where that is known anew."""
        self._concurrency = concurrency or self._concurrency
        self._wanted = True
        self._woken.set()

    async def run(self, ended: Callable[[], None]) -> None:
        """Carry jobs until there is none; ``ended`` is called when the next one needs another courier."""
        try:
            while self._wanted and not self._drain.begun:
                async with trio.open_nursery() as nursery:
                    await self._carry(nursery)
        finally:
            ended()

    async def _carry(self, nursery: trio.Nursery) -> None:
        while not self._drain.begun and (self._wanted or self._under_way):
            self._woken = trio.Event()
            if self._wanted and trio.current_time() >= self._rests_until:
                self._wanted = False
                self._wanted = await self._look(nursery) or self._wanted
            else:
                with trio.move_on_at(self._rests_until if self._wanted else float("inf")):
                    await self._woken.wait()

    def _sent(self) -> None:
        """Take note that a send has ended: there is room for what was left, and nothing is behind it any more."""
        self._under_way -= 1
        self._wanted = self._wanted or self._left
        self._rests_until = float("-inf")
        self._woken.set()

    async def _look(self, nursery: trio.Nursery) -> bool:
        """Claim once and begin to send; return whether to claim again at once."""
        slots, tenant_id = self._equipment.slots, self._key[0]
        while not self._under_way and not slots.available(tenant_id):
            await slots.freed().wait()
        try:
            async with self._equipment.database:
                return await self._claim(nursery)
        except AWAY as error:
            log.warning("deliveries wait", integration=str(self._key[1]), error=str(error).strip())
        except Exception as error:  # noqa: BLE001 - a courier's bug must not end the process
            self._record_restart(error)
        await trio.sleep(self._backoff.next())
        return True

    async def _claim(self, nursery: trio.Nursery) -> bool:
        slots, tenant_id = self._equipment.slots, self._key[0]
        room = slots.take(tenant_id, self._concurrency - self._under_way)
        if not room and not self._under_way:
            return True  # others have taken the slots meanwhile
        try:
            claimed = await self._equipment.claims.claim(self._key, self._equipment.busy, room)
            self._left = claimed.left
            for lease in claimed.leases:
                room -= 1
                await self._begin(nursery, claimed, lease)
        finally:
            slots.give(tenant_id, room)
        self._backoff.reset()
        if claimed.integration is not None:
            self._concurrency = claimed.integration.concurrency
        if self._under_way >= self._concurrency:
            self._rests_until = trio.current_time() + FULL_SECONDS  # whatever is new: there is no room for it
        elif not (claimed.leases or claimed.more):
            self._rests_until = trio.current_time() + (FULL_SECONDS if claimed.left else FRUITLESS_SECONDS)
        return claimed.more

    async def _begin(self, nursery: trio.Nursery, claimed: Claimed, lease: Lease) -> None:
        if claimed.integration is None:
            raise ApplianceError("a claim without an integration; this is a bug")
        self._under_way += 1
        self._equipment.busy.add(lease.job_id)
        await nursery.start(self._deliver, claimed.integration, lease)  # one after the other, in the order of the claim

    async def _deliver(
        self, integration: Integration, lease: Lease, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Send one notice and write down how that went, also while the process stops."""
        task_status.started()
        scope = trio.CancelScope(shield=True)
        self._drain.enter(scope)
        settled = False
        try:
            with scope:
                tried_at = self._equipment.clock.now()
                outcome = self._in_doubt(await self._send(integration, lease))
                self._equipment.failpoint(BEFORE_SETTLED)
                await self._settle(integration, lease, outcome, tried_at)
                settled = True
            if not settled:
                await self._give_back(lease)
        except Exception as error:  # noqa: BLE001 - a courier's bug must not end the process
            self._record_restart(error)
        finally:
            self._drain.leave(scope)
            self._equipment.busy.discard(lease.job_id)
            self._equipment.slots.give(integration.tenant_id, 1)
            self._sent()

    async def _send(self, integration: Integration, lease: Lease) -> Outcome:
        """Return how a try went. What a sender raises is its bug: the notice may have arrived."""
        equipment, began = self._equipment, time.monotonic()
        sender = equipment.senders.get(integration.type)
        if sender is None:
            return Outcome(
                Verdict.REFUSED, 0.0, error=f"This appliance has no integrations of type {integration.type}."
            )
        try:
            target = Target(integration.tenant_id, integration.config, self._open_secrets(integration))
        except ApplianceError as unreadable:
            return Outcome(Verdict.RETRY, 0.0, error=str(unreadable))
        error = f"No answer within {equipment.send_seconds:g} s."
        try:
            with trio.move_on_after(equipment.send_seconds):
                return await sender.send(target, self._notice(lease), equipment.network)
        except Exception as raised:  # a sender's bug costs its own notice
            log.error("a sender failed", type=integration.type, exc_info=raised)
            error = f"Unexpected {type(raised).__name__} while sending."
        return Outcome(Verdict.RETRY, time.monotonic() - began, may_have_arrived=True, error=error)

    def _in_doubt(self, outcome: Outcome) -> Outcome:
        """Return the outcome; a certificate that only a clock in doubt refuses is no answer of a receiver."""
        if outcome.verdict is Verdict.REFUSED and outcome.by_dates and not self._equipment.clock.trusted:
            return replace(outcome, verdict=Verdict.UNREACHED)
        return outcome

    def _open_secrets(self, integration: Integration) -> dict[str, str]:
        keyring = self._equipment.keyring
        return {
            name: keyring.open(
                base64.b64decode(sealed), secret_purpose(integration.tenant_id, integration.integration_id, name)
            ).decode()
            for name, sealed in integration.secrets.items()
        }

    def _notice(self, lease: Lease) -> Notice:
        page, token = self._equipment.page, lease.acknowledge_token
        return Notice(
            message_id=lease.message_id,
            event=lease.event,
            occurrence=lease.occurrence,
            appliance=self._equipment.instance,
            alert=lease.alert,
            url=page(f"/alerts/{lease.alert.alert_id}"),
            made_at=moment(self._equipment.clock.now()),
            opening_id=lease.opening_id,
            acknowledge_url=None if token is None else page(f"/acknowledge/{token}"),
            merged=lease.merged,
            merged_count=lease.merged_count,
        )

    async def _settle(self, integration: Integration, lease: Lease, outcome: Outcome, tried_at: float) -> None:
        """Write down how a try went; while Postgres is away, as soon as it is back."""
        backoff, tried = Backoff(first=0.1, maximum=5.0), Tried(integration, lease, outcome, tried_at)
        while True:
            try:
                await self._equipment.settlements.settle(tried)
            except AWAY as error:
                log.warning("the outcome of a delivery waits", job=lease.job_id, error=str(error).strip())
            else:
                break
            await trio.sleep(backoff.next())
        self._equipment.metrics.deliveries.labels(integration.type, outcome.verdict.value).inc()

    async def _give_back(self, lease: Lease) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + GIVE_BACK_SECONDS):
            try:
                await self._equipment.settling.give_back([lease.job_id])
            except AWAY as error:
                log.warning("a delivery could not be given back", job=lease.job_id, error=str(error).strip())

    def _record_restart(self, error: Exception) -> None:
        self._equipment.metrics.task_restarts.labels("courier").inc()
        log.error("a courier begins anew", integration=str(self._key[1]), exc_info=error)
