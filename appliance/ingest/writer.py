"""The writer: one transaction a batch, tried again until it is committed.

Tables in this order: telemetry, quarantine, device state that is due, ledger; every multi-row write sorted by its key,
so that several processes on one database never deadlock. A COMMIT whose answer was lost is not guessed at: each
transaction leaves the mark of its batch with the instance, and the mark is looked at before anything is written again.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.db import statements
from appliance.db.pool import Pool, PoolTimeout
from appliance.db.sqlstate import Failure, classify
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.state import DeviceState, StateBook
from appliance.errors import ApplianceError
from appliance.ingest.batch import MINUTE, Batch, BatchOutcome, RefusedSubmission, together
from appliance.ingest.quarantine.sampling import RowSampler, counter_parameters, event_parameters, moment
from appliance.ingest.telemetry.store import StorePath, TelemetryStore
from appliance.metrics import Metrics

log = structlog.get_logger(__name__)


ROWS_UNTIL = 4
STUBBORN_TRIES = 8
"""Tries of a batch whose books, not its rows, Postgres refuses; then a person is needed, since no PUBACK can leave."""


class _Attempt:
    """What a try has found out: needed if its COMMIT is never answered."""

    __slots__ = ("kept", "mark", "outcome", "states")

    def __init__(self) -> None:
        self.mark = uuid4()
        self.outcome: BatchOutcome | None = None
        """Set once everything is written and only the COMMIT is left."""
        self.kept: list[RefusedSubmission] = []
        self.states: list[DeviceState] = []


class Writer:
    """Commits batches, one at a time."""

    def __init__(
        self,
        pool: Pool,
        instance: str,
        states: StateBook,
        metrics: Metrics,
        failpoint: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._instance = instance
        self._states = states
        self._metrics = metrics
        self._failpoint = failpoint
        self._queries = statements.load("ingest")
        self._sampler = RowSampler()
        self._states_written = 0.0
        self._newest_receipt = 0
        self._store = TelemetryStore()

    async def write(self, batch: Batch) -> BatchOutcome:
        """Commit ``batch`` and say what became of it. Waits for Postgres as long as it takes.

        Raises ApplianceError when the schema is not what this program expects (SQLSTATE class 42).
        """
        kept = self._sampler.keep(batch.refused, batch.received_at)
        return await self._write(batch, kept, {})

    async def flush(self) -> None:
        """Write the device states that are due, when no batch comes by to carry them."""
        if self._states_due() and self._states.changed():
            # As of the newest batch, not of now: one that was received before and is still in hand is not in them.
            await self._write(Batch((), self._newest_receipt), (), {})

    async def _write(
        self, batch: Batch, kept: Sequence[RefusedSubmission] | None, sampled: dict[int, bool]
    ) -> BatchOutcome:
        """As ``write``; of the refused messages, ``kept`` become rows (None: no rows at all).

        ``sampled`` tells the same of those that Postgres refused in an earlier try, by index.
        """
        way, stubborn = StorePath.DIRECT, 0
        backoff = Backoff(first=0.05, maximum=2.0)
        while True:
            attempt = _Attempt()
            try:
                return await self._try(batch, kept, sampled, way, attempt)
            except (psycopg.Error, PoolTimeout, OSError) as error:
                failure = Failure.RETRY if isinstance(error, PoolTimeout | OSError) else classify(error)
                outcome = await self._after_lost_commit(attempt)
                if outcome is not None:
                    return self._committed(attempt, outcome)
                self._states.give_back()
                self._metrics.store_retries.labels(failure.name.lower()).inc()
                if failure is Failure.STOP:
                    raise ApplianceError(
                        f"the database refused a statement of ours: {error}; its schema is not the one this program "
                        "expects. Run `appliance migrate`, or look for changes made by hand."
                    ) from error
                if failure is Failure.UNIQUE:
                    way = StorePath.STAGED
                elif failure is Failure.POISON and way is not StorePath.BISECTED:
                    way = StorePath.BISECTED
                elif failure is Failure.NO_PARTITION:
                    self._store.forget_days()
                elif failure is Failure.POISON:
                    stubborn += 1
                    kept = self._without_rows(kept, stubborn, error)
                    await trio.sleep(backoff.next())
                else:
                    log.warning(
                        "batch held", messages=len(batch.messages), cause=failure.name, error=str(error).strip()
                    )
                    await trio.sleep(backoff.next())
                    if failure is Failure.RESOURCES and len(batch.messages) > 1:
                        first, second = batch.halves()
                        one = await self._write(first, _part(kept, 0, second.first), sampled)
                        two = await self._write(second, _part(kept, second.first, sys.maxsize), sampled)
                        return together(batch, one, two)

    def _without_rows(
        self, kept: Sequence[RefusedSubmission] | None, stubborn: int, error: Exception
    ) -> Sequence[RefusedSubmission] | None:
        """What to do when not the readings are refused but what is written beside them, for the ``stubborn``-th time.

        First the same again; then without the rows of quarantine, whose counters stay exact; at last a person.
        """
        if stubborn == ROWS_UNTIL:
            log.error("rows of quarantine refused by Postgres", error=str(error).strip())
            return None
        if stubborn > STUBBORN_TRIES:
            raise ApplianceError(
                f"the database takes the readings and not the books beside them: {error}; look for constraints and "
                "triggers made by hand."
            ) from error
        return kept

    async def _try(
        self,
        batch: Batch,
        kept: Sequence[RefusedSubmission] | None,
        sampled: dict[int, bool],
        way: StorePath,
        attempt: _Attempt,
    ) -> BatchOutcome:
        """One transaction. Fills ``attempt`` as it goes."""
        started = time.perf_counter()
        async with self._pool.connection() as connection:
            await self._store.ensure_days(connection, batch.span())
            async with connection.transaction():
                stored, duplicates, poison = await self._store.put(connection, batch.readings, way)
                outcome = BatchOutcome(batch, stored, duplicates, [*batch.refused, *poison])
                if kept is not None:
                    attempt.kept = [*kept, *self._sampler.keep_once(poison, batch.received_at, sampled)]
                if self._states_due():
                    attempt.states = self._states.take_changed()
                await self._record(connection, outcome, attempt)
                attempt.outcome = outcome
                self._failpoint("before_commit")
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        return self._committed(attempt, outcome)

    def _committed(self, attempt: _Attempt, outcome: BatchOutcome) -> BatchOutcome:
        self._newest_receipt = max(self._newest_receipt, outcome.batch.received_at)
        if attempt.states:
            self._states.written()
            self._states_written = time.monotonic()
        self._failpoint("after_commit")
        return outcome

    async def _after_lost_commit(self, attempt: _Attempt) -> BatchOutcome | None:
        """The outcome of a try that failed after its COMMIT was sent, if Postgres did commit it."""
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
                log.warning("waiting to learn what became of a commit", error=str(error).strip())
            await trio.sleep(backoff.next())

    def _states_due(self) -> bool:
        return time.monotonic() - self._states_written >= self._states.write_interval

    async def _record(self, connection: Connection[Any], outcome: BatchOutcome, attempt: _Attempt) -> None:
        """Quarantine, device state, ledger and the mark of the batch, in one round trip."""
        received_at = outcome.batch.received_at
        queries = self._queries
        async with connection.pipeline():
            if attempt.kept:
                await connection.execute(queries["insert_quarantine"], event_parameters(attempt.kept, received_at))
            if outcome.refused:
                await connection.execute(queries["count_quarantine"], counter_parameters(outcome.refused, received_at))
            if attempt.states:
                await connection.execute(*self._states.upsert(attempt.states, self._instance, received_at))
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
            "qos0": [qos0[tenant] for tenant in counts],
        }


def _part(kept: Sequence[RefusedSubmission] | None, first: int, last: int) -> list[RefusedSubmission] | None:
    """Those of ``kept`` that belong to the half from ``first`` to ``last`` (exclusive)."""
    return None if kept is None else [refused for refused in kept if first <= refused.index < last]


def _qos0_by_tenant(outcome: BatchOutcome) -> Counter[str]:
    """Of the received messages, those with QoS 0: a column beside the books, not one of their terms."""
    indexes = outcome.batch.qos0
    if not indexes:
        return Counter()
    accepted = [(reading.index, reading.route.tenant_id) for reading in (*outcome.stored, *outcome.duplicates)]
    refused = [(message.index, message.tenant_id or "") for message in outcome.refused]
    return Counter(tenant for index, tenant in accepted + refused if index in indexes)
