"""What becomes of a leased job after its try: the job, its attempt, and what is known of the integration, in one
transaction. And what becomes of leases whose process has ended.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from appliance.clock import Clock
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.outbox.cases import SEVERITIES, STATEMENTS, begin_by_key, moment
from appliance.delivery.outbox.claims import Lease
from appliance.delivery.outbox.decisions import ARRIVED
from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.delivery.outbox.retries import FAILURES_TO_OPEN, PROBE_SECONDS, STEPS, after_answer, after_unreached
from appliance.delivery.senders.sender import ANSWER_BYTES, REQUEST_CHARACTERS, Outcome, Verdict

MAX_ERROR = 1000
"""Characters of an error that are kept."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a job. Pure; made by :func:`settlement_of`."""

    status: JobStatus
    reason: Reason | None
    wait: float | None
    """Seconds to the next try; None: there is none."""
    tries: int
    receipt: Receipt


def settlement_of(lease: Lease, outcome: Outcome, random: float) -> Settlement:
    """Return what becomes of a job after a try. ``random``: 0 to 1."""
    receipt = _receipt(lease.receipt, outcome)
    match outcome.verdict:
        case Verdict.DELIVERED:
            return Settlement(JobStatus.COMPLETED, None, None, lease.tries + 1, receipt)
        case Verdict.UNREACHED:
            row = lease.attempts - lease.tries + 1
            wait = after_unreached(row, random)
            return Settlement(JobStatus.PENDING, Reason.UNREACHABLE, wait, lease.tries, receipt)
        case Verdict.RETRY:
            tries = lease.tries + 1
            again = after_answer(tries, outcome.retry_after, random)
            if again is None:
                return Settlement(JobStatus.DEAD, Reason.EXHAUSTED, None, tries, receipt)
            return Settlement(JobStatus.PENDING, Reason.RETRYING, again, tries, receipt)
        case Verdict.GONE:
            return Settlement(JobStatus.DEAD, Reason.GONE, None, lease.tries + 1, receipt)
        case Verdict.REFUSED:
            return Settlement(JobStatus.DEAD, Reason.REFUSED, None, lease.tries + 1, receipt)


def _receipt(before: Receipt, outcome: Outcome) -> Receipt:
    """Return what is known of the receipt: a refusal says nothing about an earlier time-out."""
    if outcome.verdict is Verdict.DELIVERED:
        return Receipt.CONFIRMED
    if outcome.may_have_arrived:
        return Receipt.POSSIBLE if before is not Receipt.CONFIRMED else before
    if outcome.verdict is Verdict.UNREACHED or before is not Receipt.NONE:
        return before
    return Receipt.REFUSED


class Settling:
    """Writes down how tries went, for one process."""

    def __init__(self, pool: Pool, instance: str, clock: Clock, random: Callable[[], float]) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._random = random

    async def settle(self, integration: Integration, lease: Lease, outcome: Outcome, tried_at: float) -> Settlement:
        """Write down how a try went. Raises psycopg.Error and OSError: nothing was written."""
        settled, now = settlement_of(lease, outcome, self._random()), moment(self._clock.now())
        async with self._pool.connection() as connection, connection.transaction():
            parameters = self._job_parameters(integration, lease, settled, now)
            async with connection.pipeline():
                await begin_by_key(connection)
                await connection.execute(
                    STATEMENTS["insert_attempt"], _attempt_parameters(integration, lease, outcome, moment(tried_at))
                )
                job = await connection.execute(STATEMENTS["settle_job"], parameters)
                if not lease.merged_count:
                    # of a job that another process has taken meanwhile, nothing follows that would not anyway
                    await self._finish(connection, lease, settled, parameters)
                    await self._note_health(connection, integration, outcome, now)
            if lease.merged_count:
                if job.rowcount:
                    await self._finish(connection, lease, settled, parameters)
                await self._note_health(connection, integration, outcome, now)
        return settled

    def _job_parameters(
        self, integration: Integration, lease: Lease, settled: Settlement, now: datetime
    ) -> dict[str, Any]:
        pending = settled.status is JobStatus.PENDING
        unreached = settled.reason is Reason.UNREACHABLE
        return {
            "tenant": integration.tenant_id,
            "integration": integration.integration_id,
            "job": lease.job_id,
            "instance": self._instance,
            "now": now,
            "settled": moment(self._clock.settled()),
            "status": settled.status.value,
            "reason": None if settled.reason is None else settled.reason.value,
            "next": None if settled.wait is None else now + timedelta(seconds=settled.wait),
            "tries": settled.tries,
            "receipt": settled.receipt.value,
            "unreached": unreached,
            "rank": SEVERITIES.index(lease.alert.severity) + 1,
            # what is tried again counts as told; what reached nobody, or was refused for good, does not
            "told": settled.receipt in ARRIVED or (pending and not unreached),
            "finished": None if pending else now,
        }

    async def _finish(
        self, connection: Connection[Any], lease: Lease, settled: Settlement, parameters: dict[str, Any]
    ) -> None:
        """Write what follows from the end of a job, if it has ended."""
        if settled.status is JobStatus.PENDING:
            return
        if lease.merged_count:
            await connection.execute(STATEMENTS["settle_members"], parameters)
        parameters = parameters | {"ids": [lease.job_id]}
        if lease.event in (JobEvent.OPEN, JobEvent.REMINDER):
            await connection.execute(STATEMENTS["insert_reminders"], parameters)
        await connection.execute(STATEMENTS["release_waiting"], parameters)

    async def _note_health(
        self, connection: Connection[Any], integration: Integration, outcome: Outcome, now: datetime
    ) -> None:
        parameters: dict[str, Any] = {
            "tenant": integration.tenant_id,
            "integration": integration.integration_id,
            "now": now,
        }
        if outcome.verdict is Verdict.DELIVERED:
            await connection.execute(STATEMENTS["note_success"], parameters)
            return
        failure = {
            "unreached": outcome.verdict is Verdict.UNREACHED,
            "error": _text(outcome.error, MAX_ERROR) or _status_words(outcome),
            "opens": FAILURES_TO_OPEN,
            "probe": now + timedelta(seconds=PROBE_SECONDS),
        }
        await connection.execute(STATEMENTS["note_failure"], parameters | failure)
        if outcome.verdict is Verdict.GONE:
            await self._disable(connection, integration, parameters)

    async def _disable(self, connection: Connection[Any], integration: Integration, parameters: dict[str, Any]) -> None:
        """Disable an integration whose receiver said that it is gone for good."""
        if not (await connection.execute(STATEMENTS["disable_gone"], parameters)).rowcount:
            return
        entry = Entry(
            Actor("deliveries", ActorKind.APPLIANCE),
            "integration.disable",
            "integration",
            str(integration.integration_id),
            integration.tenant_id,
            {"enabled": True},
            {"enabled": False, "disabled_reason": "gone", "name": integration.name},
        )
        await record(connection, entry, now=parameters["now"])

    async def take_back(self, busy: Collection[int], *, own: bool) -> int:
        """Take back leases that have run out, with ``own`` all of this instance, too; return how many.

        ``busy``: jobs that this process works on. Raises psycopg.Error and OSError.
        """
        parameters = {
            "busy": list(busy),
            "instance": self._instance if own else None,
            "steps": len(STEPS),
            "now": moment(self._clock.now()),
            "settled": moment(self._clock.settled()),
        }
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(STATEMENTS["take_back"], parameters)
            lost = [job_id for (job_id,) in await cursor.fetchall()]
            if lost:
                await connection.execute(STATEMENTS["insert_reminders"], parameters | {"ids": lost})
        if lost:
            log.warning("deliveries taken back: they may have arrived, and are sent again", count=len(lost))
        return len(lost)

    async def give_back(self, jobs: Collection[int]) -> None:
        """Give back the leases of jobs whose sending was cut off by a stop. Raises psycopg.Error and OSError."""
        parameters = {"instance": self._instance, "ids": list(jobs), "now": moment(self._clock.now())}
        async with self._pool.connection() as connection:
            await connection.execute(STATEMENTS["give_back"], parameters)


def _attempt_parameters(integration: Integration, lease: Lease, outcome: Outcome, tried_at: datetime) -> dict[str, Any]:
    return {
        "tenant": integration.tenant_id,
        "job": lease.job_id,
        "at": tried_at,
        "latency": min(round(outcome.latency * 1000), 2**31 - 1),
        "outcome": outcome.verdict.value,
        "http_status": outcome.status,
        "address": outcome.address,
        "answer": _text(outcome.answer[:ANSWER_BYTES].decode("utf-8", "replace"), ANSWER_BYTES) or None,
        "error": _text(outcome.error, MAX_ERROR),
        "request": _text(outcome.request, REQUEST_CHARACTERS) or None,
    }


def _text(text: str | None, longest: int) -> str | None:
    """Return a text as the database takes it: bounded, and without the one character that it refuses."""
    return None if text is None else text.replace("\0", "�")[:longest]


def _status_words(outcome: Outcome) -> str:
    return outcome.verdict.value if outcome.status is None else f"The answer was {outcome.status}."
