"""What becomes of leased jobs after their tries: the jobs, the tries, and what is known of integrations, in one
transaction. And what becomes of leases whose process has ended.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
import trio
from psycopg import AsyncCursor

from appliance.clock import Clock
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.outbox.cases import SEVERITIES, STATEMENTS, begin_by_key, moment
from appliance.delivery.outbox.decisions import ARRIVED
from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.delivery.outbox.leases import Lease
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


@dataclass(slots=True, eq=False)
class Tried:
    """A try that has ended, and is to be written down."""

    integration: Integration
    lease: Lease
    outcome: Outcome
    tried_at: float
    settled: bool = False
    """Whether it is written down."""
    ended: trio.Event = field(default_factory=trio.Event)
    """Set once whoever was to write it down with others has ended, well or not."""

    @property
    def alone(self) -> bool:
        """Return whether it needs a transaction of its own, since more depends on it than its job."""
        return bool(self.lease.merged_count) or self.outcome.verdict is Verdict.GONE


class Settling:
    """Writes down how tries went, for one process."""

    def __init__(self, pool: Pool, instance: str, clock: Clock, random: Callable[[], float]) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._random = random

    async def settle(self, tries: Sequence[Tried]) -> None:
        """Write down how tries of one tenant went. Raises psycopg.Error and OSError: nothing was written.

        Several at once, none of which is ``alone``, are one round trip: the statements of a pipeline are a transaction.
        """
        now = moment(self._clock.now())
        settled = [(one, settlement_of(one.lease, one.outcome, self._random())) for one in tries]
        alone = any(one.alone for one in tries)
        async with (
            self._pool.connection() as connection,
            connection.transaction() if alone else connection.pipeline(commits=True),
        ):
            await begin_by_key(connection)
            moved = await self._write(connection, settled, now)
            # of a job that another process has taken meanwhile, nothing follows that would not anyway
            if not alone or await moved.fetchone() != (0,):
                await self._finish(connection, settled, now)
            await self._note_health(connection, tries, now)
        for one in tries:
            one.settled = True

    async def _write(
        self, connection: Connection[Any], settled: Sequence[tuple[Tried, Settlement]], now: datetime
    ) -> AsyncCursor[Any]:
        """Write the tries and what becomes of their jobs; the answer is the number of those."""
        rows = [
            _attempt_columns(one) | _job_columns(one.lease, settlement, now)
            for one, settlement in sorted(settled, key=lambda pair: pair[0].lease.job_id)
        ]
        parameters = {
            "tenant": settled[0][0].integration.tenant_id,
            "rows": msgspec.json.encode(rows).decode(),
            "instance": self._instance,
            "now": now,
        }
        return await connection.execute(STATEMENTS["settle_job"], parameters)

    async def _finish(
        self, connection: Connection[Any], settled: Sequence[tuple[Tried, Settlement]], now: datetime
    ) -> None:
        """Write what follows from the end of those jobs that have ended."""
        ended = [(one.lease, settlement) for one, settlement in settled if settlement.status is not JobStatus.PENDING]
        parameters: dict[str, Any] = {
            "tenant": settled[0][0].integration.tenant_id,
            "now": now,
            "settled": moment(self._clock.settled()),
        }
        for lease, settlement in ended:
            if lease.merged_count:
                told = {"job": lease.job_id, "receipt": settlement.receipt.value, "told": _is_told(settlement)}
                await connection.execute(STATEMENTS["settle_members"], parameters | told)
        reminding = [lease.job_id for lease, _ in ended if lease.event in (JobEvent.OPEN, JobEvent.REMINDER)]
        if reminding:
            await connection.execute(STATEMENTS["insert_reminders"], parameters | {"ids": reminding})
        if ended:
            finished = {"ids": [lease.job_id for lease, _ in ended]}
            await connection.execute(STATEMENTS["release_waiting"], parameters | finished)

    async def _note_health(self, connection: Connection[Any], tries: Sequence[Tried], now: datetime) -> None:
        """Write what tries say of their integrations, which are locked in one order by all processes."""
        parameters: dict[str, Any] = {"tenant": tries[0].integration.tenant_id, "now": now}
        if all(one.outcome.verdict is Verdict.DELIVERED for one in tries):
            delivered = {"integrations": [one.integration.integration_id for one in tries]}
            await connection.execute(STATEMENTS["note_success"], parameters | delivered)
            return
        for one in sorted(tries, key=lambda one: one.integration.integration_id):
            if one.outcome.verdict is Verdict.DELIVERED:
                delivered = {"integrations": [one.integration.integration_id]}
                await connection.execute(STATEMENTS["note_success"], parameters | delivered)
            else:
                await self._note_failure(connection, one, parameters)

    async def _note_failure(self, connection: Connection[Any], tried: Tried, parameters: dict[str, Any]) -> None:
        outcome = tried.outcome
        parameters = parameters | {"integration": tried.integration.integration_id}
        failure = {
            "unreached": outcome.verdict is Verdict.UNREACHED,
            "error": _text(outcome.error, MAX_ERROR) or _status_words(outcome),
            "opens": FAILURES_TO_OPEN,
            "probe": parameters["now"] + timedelta(seconds=PROBE_SECONDS),
        }
        await connection.execute(STATEMENTS["note_failure"], parameters | failure)
        if outcome.verdict is Verdict.GONE:
            await self._disable(connection, tried.integration, parameters)

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


def _attempt_columns(tried: Tried) -> dict[str, Any]:
    outcome = tried.outcome
    return {
        "at": moment(tried.tried_at),
        "latency_ms": min(round(outcome.latency * 1000), 2**31 - 1),
        "outcome": outcome.verdict.value,
        "http_status": outcome.status,
        "address": outcome.address,
        "answer": _text(outcome.answer[:ANSWER_BYTES].decode("utf-8", "replace"), ANSWER_BYTES) or None,
        "error": _text(outcome.error, MAX_ERROR),
        "request": _text(outcome.request, REQUEST_CHARACTERS) or None,
    }


def _job_columns(lease: Lease, settlement: Settlement, now: datetime) -> dict[str, Any]:
    return {
        "job_id": lease.job_id,
        "status": settlement.status.value,
        "reason": None if settlement.reason is None else settlement.reason.value,
        "next": None if settlement.wait is None else now + timedelta(seconds=settlement.wait),
        "tries": settlement.tries,
        "receipt": settlement.receipt.value,
        "unreached": settlement.reason is Reason.UNREACHABLE,
        "rank": SEVERITIES.index(lease.alert.severity) + 1,
        "told": _is_told(settlement),
        "finished": None if settlement.status is JobStatus.PENDING else now,
    }


def _is_told(settlement: Settlement) -> bool:
    """Return whether a try counts as told: what is tried again does; what reached nobody or was refused does not."""
    pending = settlement.status is JobStatus.PENDING
    return settlement.receipt in ARRIVED or (pending and settlement.reason is not Reason.UNREACHABLE)


def _text(text: str | None, longest: int) -> str | None:
    """Return a text as the database takes it: bounded, and without the one character that it refuses."""
    return None if text is None else text.replace("\0", "�")[:longest]


def _status_words(outcome: Outcome) -> str:
    return outcome.verdict.value if outcome.status is None else f"The answer was {outcome.status}."
