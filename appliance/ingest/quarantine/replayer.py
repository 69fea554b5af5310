"""The replayer works on replay jobs, a slice at a time, for as long as the appliance runs.

Enters: jobs in ``quarantine_replays``. Leaves: readings, stored and marked in one transaction with the progress of the
job, so that a job continues where a killed process left it and several workers store nothing twice. Tables are written
in the order of the writer: the job, telemetry, quarantine, device state, ledger. Never: a charge to a rate limit, an
alert, a lost message; a message that is refused again stays held with the new reason.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.config import Ingest, Retention
from appliance.db import statements
from appliance.db.pool import Pool, PoolTimeout
from appliance.db.sqlstate import Failure, classify
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.latest_values import remember
from appliance.devices.live.offline_statuses import says_offline
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.devices.registry.refusals import TOO_LATE
from appliance.ingest.batch import MICROSECONDS, MINUTE, Reading, RefusedSubmission, index_range
from appliance.ingest.quarantine.replays import Replay, replay_of
from appliance.ingest.quarantine.revalidation import HeldMessage, RevalidatedMessage, Revalidation
from appliance.ingest.quarantine.sampling import moment, plain
from appliance.ingest.telemetry.store import StorePath, TelemetryStore
from appliance.metrics import Metrics
from appliance.reading import Refusal
from appliance.runtime.activity import activity

REPLAY_ROWS = 200
"""Messages checked together and stored in one transaction."""
POLL_SECONDS = 5.0
"""Seconds between two searches for jobs that a peer has left; a new job wakes the worker at once."""
TRANSIENT = frozenset({Failure.RETRY, Failure.RESOURCES})
"""Failures of the database after which a slice is tried again."""
LEASE_SECONDS = 15.0
"""Seconds after which a job may be taken from a peer that has not worked on it."""
BUSY = 500
"""Live messages in flight above which a replay waits."""
MAX_PAUSE = 1.0
"""Seconds for which it waits at most, so that replays end under any load."""
TRIES = 5
"""Tries of a slice in which a new device could not be registered in time."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _SliceOutcome:
    """The result of one slice."""

    stored: Sequence[Reading]
    duplicates: Sequence[Reading]
    refused: Sequence[tuple[HeldMessage, Refusal]]
    gone: int


class Replayer:
    """Works on replay jobs, one slice after another. ``in_flight`` returns the number of live messages in flight."""

    def __init__(
        self,
        pool: Pool,
        instance: str,
        registry: Registry,
        states: StateBook,
        clock: Clock,
        ingest: Ingest,
        retention: Retention,
        in_flight: Callable[[], int],
        metrics: Metrics,
        room: Callable[[], Awaitable[None]],
    ) -> None:
        """``room`` returns once the disk has room for readings."""
        self._pool = pool
        self._instance = instance
        self._states = states
        self._clock = clock
        self._in_flight = in_flight
        self._metrics = metrics
        self._room = room
        self._revalidation = Revalidation(ingest, retention, registry.resolve)
        self._store = TelemetryStore()
        self._queries = statements.load("quarantine")
        self._requested = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work without end, on unfinished jobs of an earlier process first."""
        task_status.started()
        backoff = Backoff(first=0.1, maximum=POLL_SECONDS)
        while True:
            self._requested = trio.Event()
            await self._room()
            started = trio.current_time()
            try:
                worked = await self.step()
                activity().did()
                backoff.reset()
            except (psycopg.Error, PoolTimeout, OSError) as error:
                activity().failed(error)
                log.warning("replay waits", error=str(error).strip())
                await trio.sleep(backoff.next())
                continue
            if worked:
                await self._yield_to_stream(trio.current_time() - started)
            else:
                activity().doing("waits for a replay")
                with trio.move_on_after(POLL_SECONDS):
                    await self._requested.wait()

    def wake(self, payload: str = "") -> None:  # noqa: ARG002 - the jobs are read from the table
        """Search for jobs now: one may have been requested."""
        self._requested.set()

    async def step(self) -> bool:
        """Process the next slice of a job; return False without a job. Raises psycopg.Error, OSError: try again."""
        parameters = {"instance": self._instance, "lease": LEASE_SECONDS}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(self._queries["claim_replay"], parameters)).fetchone()
        if row is None:
            return False
        replay = replay_of(row)
        activity().doing(f"replays: {replay.examined} of {replay.total}")
        try:
            await self._slice(replay)
        except OSError:
            raise
        except psycopg.Error as error:
            if classify(error) in TRANSIENT:
                raise
            await self._fail(replay, error)
        except Exception as error:  # noqa: BLE001 - a job that meets a bug must not meet it again at every start
            await self._fail(replay, error)
        return True

    async def _fail(self, replay: Replay, error: Exception) -> None:
        """Mark the job as failed: another try would fail again. The stream is not affected."""
        log.error("replay failed", replay=replay.replay_id, exc_info=error)
        async with self._pool.connection() as connection:
            reason = {"replay": replay.replay_id, "error": plain(str(error).strip()), "now": self._now()}
            await connection.execute(self._queries["fail_replay"], reason)

    async def _yield_to_stream(self, spent: float) -> None:
        """Leave half of the time to the stream, and all of it while many messages are in flight."""
        await trio.sleep(min(spent, MAX_PAUSE))
        with trio.move_on_after(MAX_PAUSE):
            while self._in_flight() > BUSY:  # noqa: ASYNC110 - the pipeline has no event for it
                await trio.sleep(0.02)

    async def _slice(self, replay: Replay) -> None:
        messages = await self._next(replay)
        judged = await self._judge(messages)
        try:
            outcome = await self._commit(replay, judged, StorePath.STAGED)
        except psycopg.Error as error:
            failure = classify(error)
            if failure is Failure.NO_PARTITION:
                self._store.forget_days()
                outcome = await self._commit(replay, judged, StorePath.STAGED)
            elif failure is Failure.POISON:
                outcome = await self._commit(replay, judged, StorePath.BISECTED)
            else:
                raise
        if outcome is not None:
            self._remember(judged, outcome.stored)
            self._metrics.replayed_slice(
                stored=len(outcome.stored),
                duplicate=len(outcome.duplicates),
                refused=len(outcome.refused),
                gone=outcome.gone,
            )

    async def _next(self, replay: Replay) -> list[HeldMessage]:
        parameters = replay.selection.parameters() | {
            "after": replay.done_id,
            "last": replay.last_id,
            "limit": REPLAY_ROWS,
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._queries["next_held"], parameters, prepare=False)
            rows = await cursor.fetchall()
        return [HeldMessage(*row) for row in rows]

    async def _judge(self, messages: Sequence[HeldMessage]) -> list[RevalidatedMessage]:
        for _ in range(TRIES):
            judged = await self._revalidation.judge(messages)
            if not any(item.verdict == TOO_LATE for item in judged):
                break
        return judged

    async def _commit(
        self, replay: Replay, judged: Sequence[RevalidatedMessage], path: StorePath
    ) -> _SliceOutcome | None:
        """Store a slice in one transaction. Return None if a peer has done this part, or if the job was cancelled."""
        readings = {item.message.event_id: item.verdict for item in judged if isinstance(item.verdict, Reading)}
        refused = [(item.message, item.verdict) for item in judged if isinstance(item.verdict, Refusal)]
        async with self._pool.connection() as connection:
            accepted = list(readings.values())
            await self._store.ensure_days(connection, accepted, index_range(accepted))
            async with connection.transaction():
                place = {"replay": replay.replay_id, "done": replay.done_id}
                job = await (await connection.execute(self._queries["lock_replay"], place)).fetchone()
                if job is None:
                    return None
                held = await self._lock(connection, [item.message.event_id for item in judged])
                present = [reading for event_id, reading in readings.items() if event_id in held]
                stored, duplicates, poison = await self._store.put(connection, present, path)
                refused += _poisoned(judged, poison)
                outcome = _SliceOutcome(
                    stored,
                    duplicates,
                    [(message, refusal) for message, refusal in refused if message.event_id in held],
                    len(judged) - len(held),
                )
                await self._mark(connection, replay, judged, outcome)
                await self._advance(connection, replay, judged, outcome, msgspec.json.decode(job[0]))
        return outcome

    async def _lock(self, connection: Connection[Any], ids: Sequence[int]) -> set[int]:
        """Lock the rows that are still held; return their ids."""
        cursor = await connection.execute(self._queries["lock_held"], {"ids": ids})
        return {row[0] for row in await cursor.fetchall()}

    async def _mark(
        self, connection: Connection[Any], replay: Replay, judged: Sequence[RevalidatedMessage], outcome: _SliceOutcome
    ) -> None:
        """Mark the rows, move the device states, and add to the ledger."""
        done = [judged[reading.index].message.event_id for reading in (*outcome.stored, *outcome.duplicates)]
        if done:
            marks = {"ids": done, "now": self._now(), "actor": replay.created_by}
            await connection.execute(self._queries["mark_replayed"], marks)
        changed = [
            (message.event_id, refusal.reason.value, plain(refusal.detail))
            for message, refusal in outcome.refused
            if (message.reason, message.detail) != (refusal.reason.value, plain(refusal.detail))
        ]
        if changed:
            columns = zip(*changed, strict=True)
            await connection.execute(
                self._queries["mark_refused"], dict(zip(("ids", "reasons", "details"), map(list, columns), strict=True))
            )
        if outcome.stored:
            states = {**_states(judged, outcome.stored), "now": self._now()}
            await connection.execute(self._queries["upsert_replayed_states"], states)
            counts = Counter(reading.route.tenant_id for reading in outcome.stored)
            tenants = sorted(counts)
            minute = round(self._clock.now() * MICROSECONDS) // MINUTE * MINUTE
            ledger_rows = {
                "minute": moment(minute),
                "instance": self._instance,
                "tenants": tenants,
                "counts": [counts[tenant_id] for tenant_id in tenants],
            }
            await connection.execute(self._queries["add_replayed"], ledger_rows)

    async def _advance(
        self,
        connection: Connection[Any],
        replay: Replay,
        judged: Sequence[RevalidatedMessage],
        outcome: _SliceOutcome,
        refused: Mapping[str, int],
    ) -> None:
        """Record the progress of the job, in the same transaction."""
        reasons = Counter(refused) + Counter(refusal.reason.value for _, refusal in outcome.refused)
        ended = len(judged) < REPLAY_ROWS
        progress = {
            "replay": replay.replay_id,
            "done": replay.last_id if ended else judged[-1].message.event_id,
            "replayed": len(outcome.stored),
            "duplicate": len(outcome.duplicates),
            "refused": msgspec.json.encode(reasons).decode(),
            "gone": outcome.gone,
            "ended": self._now() if ended else None,
        }
        await connection.execute(self._queries["advance_replay"], progress)
        if ended:
            log.info("replay done", replay=replay.replay_id, tenant=replay.selection.tenant_id, by=replay.created_by)

    def _remember(self, judged: Sequence[RevalidatedMessage], stored: Sequence[Reading]) -> None:
        """Move the states in memory too, so that later messages of a device do not undo what was just written."""
        for reading in stored:
            state = reading.state
            if says_offline(reading.route.kind, reading.metrics):
                continue  # of long ago: it says nothing about now
            state.accept_replayed(reading, judged[reading.index].message.received_at)
            self._states.touch(state)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def _poisoned(
    judged: Sequence[RevalidatedMessage], poison: Sequence[RefusedSubmission]
) -> list[tuple[HeldMessage, Refusal]]:
    return [(judged[refused.index].message, Refusal(refused.reason, refused.detail)) for refused in poison]


def _states(judged: Sequence[RevalidatedMessage], stored: Sequence[Reading]) -> dict[str, Any]:
    """Return the parameters of the statement that moves device states and marks the hours of stored readings.

    Each device takes its newest reading; devices are in the order of their oldest. An `offline` moves no state.
    """
    newest: dict[tuple[str, str], int] = {}
    heard: dict[tuple[str, str], int] = {}
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for reading in sorted(stored, key=lambda reading: reading.ts):
        if says_offline(reading.route.kind, reading.metrics):
            continue
        key = reading.route.key
        newest[key] = reading.ts
        heard[key] = max(heard.get(key, 0), judged[reading.index].message.received_at)
        latest[key] = remember(latest.get(key, {}), reading.metrics)
    return {
        "tenants": [key[0] for key in newest],
        "devices": [key[1] for key in newest],
        "newest": [moment(ts) for ts in newest.values()],
        "heard": [moment(heard[key]) for key in newest],
        "latest": [msgspec.json.encode(latest[key]).decode() for key in newest],
        "stored_tenants": [reading.route.tenant_id for reading in stored],
        "stored_devices": [reading.route.device_id for reading in stored],
        "stored_ts": [moment(reading.ts) for reading in stored],
    }
