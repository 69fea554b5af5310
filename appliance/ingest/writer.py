"""The writer: one transaction a batch, tried again until it is committed.

Tables in this order: telemetry, quarantine, those of the observers, ledger; every multi-row write sorted by its key, so
that several processes on one database never deadlock. A COMMIT whose answer was lost is not guessed at: each
transaction leaves the mark of its batch with the instance, and the mark is read before anything is written again.

What the writer does after a failure is decided in ``appliance.ingest.retry``; what is written beside the readings is
described in ``appliance.ingest.observer``.
"""

import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool, PoolTimeout
from appliance.db.sqlstate import Failure, classify
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError
from appliance.ingest.batch import MICROSECONDS, MINUTE, Batch, BatchOutcome, RefusedSubmission, together
from appliance.ingest.observer import LOCK_WAIT_MS, Effects, Observer, ObserverError, Observers
from appliance.ingest.quarantine.sampling import RowSampler, counter_parameters, event_parameters, moment
from appliance.ingest.retry import Beside, NextTry, RetryPlan
from appliance.ingest.telemetry.store import TelemetryStore
from appliance.metrics import Metrics

log = structlog.get_logger(__name__)


class _Attempt:
    """What a try has found out: needed if it fails, or if its COMMIT is never answered."""

    __slots__ = ("effects", "kept", "mark", "outcome")

    def __init__(self) -> None:
        self.mark = uuid4()
        self.outcome: BatchOutcome | None = None
        """Set once everything is written and only the COMMIT is left."""
        self.kept: list[RefusedSubmission] = []
        self.effects = Effects()


class Writer:
    """Commits batches, one at a time. ``observers`` are in the order in which their tables are written."""

    def __init__(
        self,
        pool: Pool,
        instance: str,
        observers: Sequence[Observer],
        clock: Clock,
        metrics: Metrics,
        failpoint: Callable[[str], None],
        room: Callable[[], Awaitable[None]],
        no_room: Callable[[], None],
    ) -> None:
        """``room`` returns once the disk has room; ``no_room`` is called when Postgres found none."""
        self._pool = pool
        self._instance = instance
        self._observers = Observers(observers, clock)
        self._clock = clock
        self._metrics = metrics
        self._failpoint = failpoint
        self._room = room
        self._no_room = no_room
        self._queries = statements.load("ingest")
        self._sampler = RowSampler()
        self._newest_receipt = 0
        self._store = TelemetryStore()
        self.last_error: str | None = None
        """Why the last try of the batch that is being written failed; None while none has."""

    async def write(self, batch: Batch) -> BatchOutcome:
        """Commit ``batch`` and return its outcome. Waits for Postgres as long as it takes.

        Raises ApplianceError when the schema is not what this program expects (SQLSTATE class 42), or when Postgres
        refuses the ledger of the batch.
        """
        kept = self._sampler.keep(batch.refused, batch.received_at)
        return await self._write(batch, kept, {})

    async def tick(self) -> None:
        """Commit a batch without messages for the observers that are due, when no batch comes by."""
        if self._observers.due():
            # As of the newest batch, not of now: one that was received before and is still in flight is not in it. A
            # clock that has stepped back since was wrong then: what this instance has written would lie in the future.
            now = round(self._clock.now() * MICROSECONDS)
            await self._write(Batch((), min(self._newest_receipt, now)), (), {})

    async def _write(self, batch: Batch, kept: Sequence[RefusedSubmission], sampled: dict[int, bool]) -> BatchOutcome:
        """Commit ``batch``; of the refused messages, ``kept`` become rows.

        ``sampled`` tells the same of those that Postgres refused in an earlier try, by index.
        """
        plan = RetryPlan(self._observers.names)
        backoff = Backoff(first=0.05, maximum=2.0)
        while True:
            await self._room()
            attempt = _Attempt()
            try:
                outcome: BatchOutcome | None = await self._try(batch, kept, sampled, plan, attempt)
            except ObserverError as error:
                attempt.effects.given_back()
                plan.without(error.name, error.error)
                continue
            except (psycopg.Error, PoolTimeout, OSError) as error:
                self.last_error = str(error).strip().partition("\n")[0] or type(error).__name__
                outcome = await self._after_lost_commit(attempt)
                if outcome is None:
                    attempt.effects.given_back()
                    next_try = self._after_failure(batch, plan, attempt, error)
                    if next_try is not NextTry.AT_ONCE:
                        await trio.sleep(backoff.next())
                    if next_try is NextTry.IN_HALVES and len(batch.messages) > 1:
                        return await self._write_halves(batch, kept, sampled)
            if outcome is not None:
                return self._committed(attempt, outcome, plan)

    def _after_failure(self, batch: Batch, plan: RetryPlan, attempt: _Attempt, error: Exception) -> NextTry:
        """Decide what follows a failed try. Raises ApplianceError when a person is needed."""
        failure = classify(error) if isinstance(error, psycopg.Error) else Failure.RETRY
        self._metrics.store_retries.labels(failure.name.lower()).inc()
        if isinstance(error, psycopg.errors.DiskFull):
            self._no_room()
        if failure is Failure.NO_PARTITION:
            self._store.forget_days()
        beside = Beside(bool(attempt.kept), attempt.effects.names(), self._observers.suspects())
        if isinstance(error, psycopg.errors.LockNotAvailable):
            next_try = plan.after_lock_timeout(beside, error)
        else:
            next_try = plan.after(failure, beside, error)
        if next_try is NextTry.NEVER and failure is Failure.STOP:
            raise ApplianceError(
                f"the database rejected a statement of the appliance: {error}; its schema is not the one this program "
                "expects. Run `appliance migrate`, or look for changes made by hand."
            ) from error
        if next_try is NextTry.NEVER:
            raise ApplianceError(
                f"the database accepts the readings and refuses the ledger beside them: {error}; look for constraints "
                "and triggers made by hand."
            ) from error
        if failure in {Failure.RETRY, Failure.RESOURCES} and next_try is not NextTry.AT_ONCE:
            log.warning("batch held", messages=len(batch.messages), cause=failure.name, error=str(error).strip())
        return next_try

    async def _write_halves(
        self, batch: Batch, kept: Sequence[RefusedSubmission], sampled: dict[int, bool]
    ) -> BatchOutcome:
        """Commit the halves one after the other. Each finds out anew what it must leave out: it may be in one only."""
        first, second = batch.halves()
        one = await self._write(first, _part(kept, 0, second.first), sampled)
        two = await self._write(second, _part(kept, second.first, sys.maxsize), sampled)
        return together(batch, one, two)

    async def _try(
        self,
        batch: Batch,
        kept: Sequence[RefusedSubmission],
        sampled: dict[int, bool],
        plan: RetryPlan,
        attempt: _Attempt,
    ) -> BatchOutcome:
        """Run one transaction. Fills ``attempt`` as it goes."""
        started = time.perf_counter()
        omission = plan.omission
        async with self._pool.connection() as connection:
            await self._store.ensure_days(connection, batch.readings, batch.span())
            async with connection.transaction():
                foresee = partial(self._observers.foresee, omission.observers)
                stored, duplicates, poison = await self._store.put(connection, batch.readings, plan.path, foresee)
                outcome = BatchOutcome(batch, stored, duplicates, [*batch.refused, *poison])
                if not omission.quarantine_rows:
                    attempt.kept = [*kept, *self._sampler.keep_once(poison, batch.received_at, sampled)]
                await self._observers.prepare(connection, outcome, omission.observers, attempt.effects)
                await self._record(connection, outcome, attempt)
                attempt.outcome = outcome
                self._failpoint("before_commit")
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        return outcome

    def _committed(self, attempt: _Attempt, outcome: BatchOutcome, plan: RetryPlan) -> BatchOutcome:
        if outcome.batch.messages:
            self._newest_receipt = outcome.batch.received_at
        self.last_error = None
        self._observers.committed(attempt.effects, outcome)
        if plan.error is not None:
            omission = plan.omission
            if omission.quarantine_rows:
                log.error("rows of quarantine refused by Postgres", error=str(plan.error).strip())
            self._observers.shed(omission.observers, plan.error)
        self._failpoint("after_commit")
        return outcome

    async def _after_lost_commit(self, attempt: _Attempt) -> BatchOutcome | None:
        """Return the outcome of a try that failed after its COMMIT was sent, if Postgres did commit it."""
        if attempt.outcome is None:
            return None
        backoff = Backoff(first=0.05, maximum=2.0)
        while True:
            try:
                async with self._pool.connection() as connection:
                    cursor = await connection.execute(self._queries["last_batch"], {"instance": self._instance})
                    row = await cursor.fetchone()
                return attempt.outcome if row == (attempt.mark,) else None
            except (psycopg.Error, PoolTimeout, OSError) as error:
                self.last_error = str(error).strip().partition("\n")[0] or type(error).__name__
                log.warning("waiting to learn what became of a commit", error=str(error).strip())
            await trio.sleep(backoff.next())

    async def _record(self, connection: Connection[Any], outcome: BatchOutcome, attempt: _Attempt) -> None:
        """Write quarantine, the effects of the observers, the ledger and the mark of the batch, in one round trip."""
        received_at = outcome.batch.received_at
        queries = self._queries
        async with connection.pipeline():
            if attempt.kept:
                rows = event_parameters(attempt.kept, received_at, outcome.batch.first)
                await connection.execute(queries["insert_quarantine"], rows)
            if outcome.refused:
                await connection.execute(queries["count_quarantine"], counter_parameters(outcome.refused, received_at))
            if attempt.effects:
                await connection.execute(queries["begin_effects"], {"milliseconds": LOCK_WAIT_MS})
                await attempt.effects.write(connection)
                await connection.execute(queries["end_effects"])
            if outcome.batch.messages:
                await connection.execute(queries["add_to_ledger"], self._ledger_parameters(outcome))
            await connection.execute(queries["mark_batch"], {"instance": self._instance, "batch": attempt.mark})

    def _ledger_parameters(self, outcome: BatchOutcome) -> dict[str, Any]:
        counts, qos0 = outcome.tenants(), _qos0_by_tenant(outcome)
        return {
            "minute": moment(outcome.batch.received_at // MINUTE * MINUTE),
            "instance": self._instance,
            "tenants": list(counts),
            "received": [count.received for count in counts.values()],
            "stored": [count.stored for count in counts.values()],
            "refused": [count.refused for count in counts.values()],
            "duplicate": [count.duplicate for count in counts.values()],
            "cleared": [count.cleared for count in counts.values()],
            "qos0": [qos0[tenant] for tenant in counts],
        }


def _part(kept: Sequence[RefusedSubmission], first: int, last: int) -> list[RefusedSubmission]:
    """Return those of ``kept`` that belong to the half from ``first`` to ``last`` (exclusive)."""
    return [refused for refused in kept if first <= refused.index < last]


def _qos0_by_tenant(outcome: BatchOutcome) -> Counter[str]:
    """Count the received messages with QoS 0 of each tenant: a column of the ledger, not a term of its balance."""
    indexes = outcome.batch.qos0
    if not indexes:
        return Counter()
    accepted = [(reading.index, reading.route.tenant_id) for reading in (*outcome.stored, *outcome.duplicates)]
    refused = [(message.index, message.tenant_id or "") for message in outcome.refused]
    cleared = [(topic.index, topic.tenant_id or "") for topic in outcome.batch.cleared]
    return Counter(tenant for index, tenant in accepted + refused + cleared if index in indexes)
