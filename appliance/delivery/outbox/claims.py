"""Claims: the transaction in which the due jobs of an integration are decided on, and some of them leased.

Enters: an integration, and room for so many sends. Leaves: leased jobs with what their notices say; skipped, held and
merged ones in the database. An advisory lock of the integration makes one claim at a time over all processes, so that
its concurrency, the throttle and the burst of its routes are counted once. No row is waited for: what somebody else
has locked is left to the next claim.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from appliance.clock import Clock
from appliance.db.locks import lock_key
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.outbox.cases import (
    SEVERITIES,
    STATEMENTS,
    CaseReader,
    DueJob,
    Wanted,
    Windows,
    begin_claim,
    ids_of,
    moment,
    pick_parameters,
    worst_first,
)
from appliance.delivery.outbox.decisions import HELD, Hold, Merge, Moment, Send, Skip, Summary, decide
from appliance.delivery.outbox.job import JobEvent, Reason
from appliance.delivery.outbox.leases import Lease, NoticeReader
from appliance.delivery.outbox.retries import PROBE_SECONDS

EXTRA_CASES = 24
"""Jobs that a claim decides on beyond those it can send."""
SUMMARY_JOBS = 1000
"""Jobs that one summary tells at most; the next one tells what is left."""
DEFERRED = 200
"""Blocked jobs that one claim puts off."""
BLOCKED_SECONDS = 300.0
"""Seconds after which a job is looked at again that waits for an earlier one; the end of that releases it at once."""

IntegrationKey = tuple[str, UUID]
"""Tenant and integration."""
MayMerge = Callable[[str], bool]
"""Says whether a type of integration can tell several alerts in one notice."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim came to."""

    integration: Integration | None
    leases: Sequence[Lease]
    more: bool
    """Whether something moved, so that another claim may find more."""
    left: bool = False
    """Whether something is due that there was no room for."""


@dataclass(frozen=True, slots=True)
class _Receiver:
    """An integration, and how it goes."""

    integration: Integration
    failures: int
    breaker_open: bool
    probe_due: bool
    processing: int
    recovering: bool
    """Whether jobs are due that found no way out."""

    def room(self, wanted: int) -> int:
        """Return how many jobs may be sent now. One that fails gets one at a time: it holds no slots of others."""
        if self.breaker_open:
            most = 1 if self.probe_due else 0
        else:
            most = 1 if self.failures else self.integration.concurrency
        return max(0, min(wanted, most - self.processing))


@dataclass(slots=True)
class _Plan:
    """What a claim has decided so far."""

    room: int
    left: bool = False
    """Whether something is due that there was no room for."""
    leases: list[DueJob] = field(default_factory=list)
    skips: list[tuple[int, Reason]] = field(default_factory=list)
    holds: list[tuple[int, float, Reason]] = field(default_factory=list)
    merged: set[tuple[UUID, int]] = field(default_factory=set)
    """Route and alert of what a summary tells."""
    told: Counter[UUID] = field(default_factory=Counter)
    """Leases by route."""
    fingerprints: dict[tuple[UUID, str], float] = field(default_factory=dict)

    def lease(self, job: DueJob, now: float) -> None:
        self.room -= 1
        self.leases.append(job)
        self.told[job.route_id] += 1
        if job.event is JobEvent.OPEN:
            self.fingerprints[job.route_id, job.fingerprint] = now

    def case_of(self, job: DueJob) -> DueJob:
        """Return the job with what this claim itself has leased before it."""
        told = job.case.told_in_minute + self.told[job.route_id]
        last = self.fingerprints.get((job.route_id, job.fingerprint), job.case.last_told)
        throttled = last if job.event is JobEvent.OPEN and job.case.route.throttle_seconds else job.case.last_told
        return replace(job, case=replace(job.case, told_in_minute=told, last_told=throttled))


class Claims:
    """Claims the jobs of integrations for one process."""

    def __init__(
        self,
        pool: Pool,
        instance: str,
        clock: Clock,
        windows: Windows,
        may_merge: MayMerge,
        links: AcknowledgeLinks,
        lease_seconds: float,
    ) -> None:
        """``lease_seconds``: longer than a try may take, or two processes would send the same."""
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._windows = windows
        self._may_merge = may_merge
        self._notices = NoticeReader(links)
        self._lease_seconds = lease_seconds

    async def claim(self, key: IntegrationKey, busy: Collection[int], room: int) -> Claimed:
        """Decide on due jobs and lease up to ``room`` of them. Raises psycopg.Error and OSError: nothing was done.

        ``busy``: jobs that this process works on, whatever their leases say.
        """
        await self._windows.refresh()
        at = Moment(self._clock.now(), self._clock.settled())
        async with self._pool.connection() as connection, _rolled_back_on_error(connection):
            # usually all of it is due and in order: it is picked at once, for as much room as there may be
            usual = Wanted(*key, busy, room + EXTRA_CASES)
            async with connection.pipeline():  # each statement sees what was committed before it begins
                await connection.execute("BEGIN")
                await begin_claim(connection, lock_key("integration", key[0], str(key[1])))
                found = await connection.execute(STATEMENTS["claimed_integration"], _parameters(key, at))
                picked = await connection.execute(STATEMENTS["pick_due"], pick_parameters(usual, at))
            receiver = self._receiver(key, await found.fetchone(), at)
            if receiver is None:
                await connection.rollback()
                return Claimed(None, [], more=False)
            if receiver.breaker_open and receiver.integration.enabled:
                await connection.execute(STATEMENTS["mark_waited"], _parameters(key, at) | {"severities": SEVERITIES})
                if not receiver.probe_due:
                    await connection.commit()
                    return Claimed(receiver.integration, [], more=False)
            reader = CaseReader(
                connection,
                at,
                self._windows,
                on=receiver.integration.enabled,
                may_merge=self._may_merge(receiver.integration.type),
            )
            plan = _Plan(receiver.room(room))
            worst_first = receiver.recovering or receiver.breaker_open
            wanted = replace(usual, limit=plan.room + EXTRA_CASES, worst_first=worst_first)
            if worst_first:
                due = await reader.read(wanted)
            else:
                due = await reader.read_picked(
                    wanted, [job_id for (job_id,) in await picked.fetchall()][: wanted.limit]
                )
            return await self._decide(connection, key, receiver, reader, wanted, due, plan, at)

    def _receiver(self, key: IntegrationKey, row: Sequence[Any] | None, at: Moment) -> _Receiver | None:
        if row is None:
            return None
        name, kind, enabled, disabled_reason, config, secrets, concurrency, version, created_at, updated_at = row[:10]
        failures, breaker_open, next_probe_at, processing, recovering = row[10:]
        integration = Integration(
            *key,
            name,
            kind,
            enabled,
            disabled_reason,
            msgspec.json.decode(config),
            msgspec.json.decode(secrets, type=dict[str, str]),
            concurrency,
            version,
            created_at,
            updated_at,
        )
        wait = 0.0 if next_probe_at is None else next_probe_at.timestamp() - at.now
        # a probe further away than two are apart was set by a clock that was wrong
        return _Receiver(integration, failures, breaker_open, not 0 < wait <= PROBE_SECONDS, processing, recovering)

    async def _decide(
        self,
        connection: Connection[Any],
        key: IntegrationKey,
        receiver: _Receiver,
        reader: CaseReader,
        wanted: Wanted,
        found: Sequence[DueJob],
        plan: _Plan,
        at: Moment,
    ) -> Claimed:
        for due in found:
            job = plan.case_of(due)
            if (job.route_id, job.alert_id) in plan.merged:
                continue
            match decide(job.case, at):
                case Send() | Merge() if plan.room <= 0:
                    plan.left = True
                case Send():
                    plan.lease(job, at.now)
                case Hold(until, reason):
                    plan.holds.append((job.job_id, until, reason))
                case Skip(reason):
                    plan.skips.append((job.job_id, reason))
                case Merge(summary):
                    await self._merge(connection, reader, wanted, job, summary, plan, at)
        async with connection.pipeline(commits=True):
            await self._write(connection, key, plan, at, probing=receiver.breaker_open)
            asked = await self._notices.ask(connection, key[0], plan.leases, summaries=bool(plan.merged))
            await connection.execute("COMMIT")
        # from here on nothing waits: a lease that is written leads to a send, also while the process stops
        leases = await self._notices.leases(receiver.integration, plan.leases, asked, at)
        more = bool(plan.skips or plan.holds or plan.merged)
        return Claimed(receiver.integration, leases, more, plan.left)

    async def _merge(
        self,
        connection: Connection[Any],
        reader: CaseReader,
        wanted: Wanted,
        first: DueJob,
        summary: Summary,
        plan: _Plan,
        at: Moment,
    ) -> None:
        """Lease one job of a route that tells all which the summary is for."""
        siblings = await reader.read(
            replace(wanted, limit=SUMMARY_JOBS, summary=summary, route_id=first.route_id, event=first.event)
        )
        members = worst_first(
            [job for job in siblings if not job.blocked and decide(job.case, at) == Merge(summary)] or [first]
        )
        carrier = next((job for job in members if job.case.status != "CLOSED"), members[0])
        # with the OPEN of an alert that has ended goes whatever waits behind it
        alerts = [job.alert_id for job in members if job.event is JobEvent.OPEN and job.case.status == "CLOSED"]
        if carrier.alert_id in alerts:  # the end says more than the beginning
            ended = replace(wanted, route_id=first.route_id, ended=carrier.alert_id)
            carrier = next(iter(await reader.read(ended)), carrier)
        plan.lease(carrier, at.now)
        plan.merged.update((job.route_id, job.alert_id) for job in members)
        parameters = {
            "tenant": wanted.tenant_id,
            "route": first.route_id,
            "carrier": carrier.job_id,
            "ids": ids_of(members),
            "alerts": alerts,
            "now": moment(at.now),
        }
        await connection.execute(STATEMENTS["merge_jobs"], parameters)

    async def _write(
        self, connection: Connection[Any], key: IntegrationKey, plan: _Plan, at: Moment, *, probing: bool
    ) -> None:
        common = _parameters(key, at)
        if plan.holds:
            ids, untils, reasons = zip(*plan.holds, strict=True)
            held = {"ids": list(ids), "untils": [moment(until) for until in untils], "reasons": _values(reasons)}
            await connection.execute(STATEMENTS["hold_jobs"], common | held)
        if plan.skips:
            ids, reasons = zip(*plan.skips, strict=True)
            skipped = {"ids": list(ids), "reasons": _values(reasons)}
            await connection.execute(STATEMENTS["skip_jobs"], common | skipped)
            await connection.execute(STATEMENTS["release_waiting"], common | {"ids": list(ids)})
        if plan.leases:
            leased = {
                "ids": ids_of(plan.leases),
                "fingerprints": [job.fingerprint for job in plan.leases],
                "instance": self._instance,
                "lease": self._lease_seconds,
            }
            await connection.execute(STATEMENTS["lease_jobs"], common | leased)
            if probing:
                await connection.execute(STATEMENTS["set_probe"], common | {"next": moment(at.now + PROBE_SECONDS)})
        elif plan.room > 0 and not plan.skips and not plan.holds:
            blocked = {
                "held": _values(HELD),
                "limit": DEFERRED,
                "soon": moment(at.now + 1),
                "again": moment(at.now + BLOCKED_SECONDS),
            }
            await connection.execute(STATEMENTS["defer_blocked"], common | blocked)


@asynccontextmanager
async def _rolled_back_on_error(connection: Connection[Any]) -> AsyncIterator[None]:
    """Roll back at an error what the block has begun; it commits by itself, together with its last statements."""
    try:
        yield
    except Exception:
        with suppress(psycopg.Error):  # the pool closes a connection that is still in a transaction
            await connection.rollback()
        raise


def _parameters(key: IntegrationKey, at: Moment) -> dict[str, Any]:
    return {"tenant": key[0], "integration": key[1], "now": moment(at.now)}


def _values(reasons: Collection[Reason]) -> list[str]:
    return [reason.value for reason in reasons]
