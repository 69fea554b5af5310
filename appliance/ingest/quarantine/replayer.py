"""The replayer: works on replay jobs, a slice at a time, for as long as the appliance runs.

Enters: jobs in ``quarantine_replays``. Leaves: readings, stored and marked in one transaction with the job's own
progress, so that a job goes on where a killed process left it and nothing is stored twice, whoever else works on it.
Tables in the order of the writer: the job, telemetry, quarantine, device state, ledger. Never: a bucket charged, a rule
fired, a message lost - refused again, it stays held with the new reason.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from appliance.devices.live.state import StateBook, remember
from appliance.devices.registry.cache import Registry
from appliance.devices.registry.provisioning import TOO_LATE
from appliance.ingest.batch import MICROSECONDS, MINUTE, Reading, RefusedSubmission, index_range
from appliance.ingest.quarantine.replays import Replay, replay_of
from appliance.ingest.quarantine.revalidation import HeldMessage, RevalidatedMessage, Revalidation
from appliance.ingest.quarantine.sampling import moment, plain
from appliance.ingest.telemetry.store import StorePath, TelemetryStore
from appliance.metrics import Metrics
from appliance.reading import Refusal
from appliance.runtime.activity import activity

REPLAY_ROWS = 200
"""Messages judged together and stored in one transaction."""
POLL_SECONDS = 5.0
"""Between two looks for jobs that a peer may have left behind; a new one is told."""
PASSING = frozenset({Failure.RETRY, Failure.RESOURCES})
"""Failures of the database that are worth waiting out."""
LEASE_SECONDS = 15.0
"""A job on which a peer was seen at work so lately is left to it."""
BUSY = 500
"""Live messages in hand from which on a replay stands aside."""
STAND_ASIDE = 1.0
"""Seconds for which it does so at most: it must end too."""
TRIES = 5
"""Of a slice in which a new device could not be registered in time."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Settled:
    """What became of one slice."""

    stored: Sequence[Reading]
    duplicates: Sequence[Reading]
    refused: Sequence[tuple[HeldMessage, Refusal]]
    gone: int


class Replayer:
    """Works on replay jobs, one slice after another. ``busy`` tells how many live messages are in hand."""

    def __init__(
        self,
        pool: Pool,
        instance: str,
        registry: Registry,
        states: StateBook,
        clock: Clock,
        ingest: Ingest,
        retention: Retention,
        busy: Callable[[], int],
        metrics: Metrics | None = None,
    ) -> None:
        self._pool = pool
        self._instance = instance
        self._states = states
        self._clock = clock
        self._busy = busy
        self._metrics = metrics or Metrics()
        self._readmission = Revalidation(ingest, retention, registry.resolve)
        self._store = TelemetryStore()
        self._queries = statements.load("quarantine")
        self._asked = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work for ever, unfinished jobs of an earlier process first."""
        task_status.started()
        backoff = Backoff(first=0.1, maximum=POLL_SECONDS)
        while True:
            self._asked = trio.Event()
            started = trio.current_time()
            try:
                worked = await self.step()
                activity().did(worked)
                backoff.reset()
            except (psycopg.Error, PoolTimeout, OSError) as error:
                activity().failed(error)
                log.warning("replay waits", error=str(error).strip())
                await trio.sleep(backoff.next())
                continue
            if worked:
                await self._pace(trio.current_time() - started)
            else:
                activity().doing("waits for a replay to be asked for")
                with trio.move_on_after(POLL_SECONDS):
                    await self._asked.wait()

    def wake(self, payload: str = "") -> None:  # noqa: ARG002 - the jobs are read from the table
        """Look for jobs now: one may have been asked for."""
        self._asked.set()

    async def step(self) -> bool:
        """Take the next slice of some job; False if there is none. Raises psycopg.Error, OSError to try again."""
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
            if classify(error) in PASSING:
                raise
            await self._fail(replay, error)
        except Exception as error:  # noqa: BLE001 - a job that meets a bug must not meet it at every start for ever
            await self._fail(replay, error)
        return True

    async def _fail(self, replay: Replay, error: Exception) -> None:
        """Trying again would change nothing. The stream goes on: this is a chore beside it."""
        log.error("replay failed", replay=replay.replay_id, exc_info=error)
        async with self._pool.connection() as connection:
            reason = {"replay": replay.replay_id, "error": plain(str(error).strip()), "now": self._now()}
            await connection.execute(self._queries["fail_replay"], reason)

    async def _pace(self, spent: float) -> None:
        """Half of the time is the stream's; all of it while many messages are in hand."""
        await trio.sleep(min(spent, STAND_ASIDE))
        with trio.move_on_after(STAND_ASIDE):
            while self._busy() > BUSY:  # noqa: ASYNC110 - the pipeline has no event for it
                await trio.sleep(0.02)

    async def _slice(self, replay: Replay) -> None:
        messages = await self._next(replay)
        judged = await self._judge(messages)
        try:
            settled = await self._commit(replay, judged, StorePath.STAGED)
        except psycopg.Error as error:
            failure = classify(error)
            if failure is Failure.NO_PARTITION:
                self._store.forget_days()
                settled = await self._commit(replay, judged, StorePath.STAGED)
            elif failure is Failure.POISON:
                settled = await self._commit(replay, judged, StorePath.BISECTED)
            else:
                raise
        if settled is not None:
            self._remember(judged, settled.stored)
            self._metrics.replayed_slice(
                stored=len(settled.stored),
                duplicate=len(settled.duplicates),
                refused=len(settled.refused),
                gone=settled.gone,
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
            judged = await self._readmission.judge(messages)
            if not any(item.verdict == TOO_LATE for item in judged):
                break
        return judged

    async def _commit(self, replay: Replay, judged: Sequence[RevalidatedMessage], way: StorePath) -> _Settled | None:
        """One transaction; None if somebody else has done this part, or the job was cancelled."""
        readings = {item.message.event_id: item.verdict for item in judged if isinstance(item.verdict, Reading)}
        refused = [(item.message, item.verdict) for item in judged if isinstance(item.verdict, Refusal)]
        async with self._pool.connection() as connection:
            await self._store.ensure_days(connection, index_range(list(readings.values())))
            async with connection.transaction():
                place = {"replay": replay.replay_id, "done": replay.done_id}
                job = await (await connection.execute(self._queries["lock_replay"], place)).fetchone()
                if job is None:
                    return None
                held = await self._lock(connection, [item.message.event_id for item in judged])
                present = [reading for event_id, reading in readings.items() if event_id in held]
                stored, duplicates, poison = await self._store.put(connection, present, way)
                refused += _poisoned(judged, poison)
                settled = _Settled(
                    stored,
                    duplicates,
                    [(message, refusal) for message, refusal in refused if message.event_id in held],
                    len(judged) - len(held),
                )
                await self._mark(connection, replay, judged, settled)
                await self._advance(connection, replay, judged, settled, msgspec.json.decode(job[0]))
        return settled

    async def _lock(self, connection: Connection[Any], ids: Sequence[int]) -> set[int]:
        """Those that are still held, and stay so until the transaction ends."""
        cursor = await connection.execute(self._queries["lock_held"], {"ids": ids})
        return {row[0] for row in await cursor.fetchall()}

    async def _mark(
        self, connection: Connection[Any], replay: Replay, judged: Sequence[RevalidatedMessage], settled: _Settled
    ) -> None:
        """Decide on the rows, move the states, write the books."""
        done = [judged[reading.index].message.event_id for reading in (*settled.stored, *settled.duplicates)]
        if done:
            marks = {"ids": done, "now": self._now(), "actor": replay.created_by}
            await connection.execute(self._queries["mark_replayed"], marks)
        anew = [
            (message.event_id, refusal.reason.value, plain(refusal.detail))
            for message, refusal in settled.refused
            if (message.reason, message.detail) != (refusal.reason.value, plain(refusal.detail))
        ]
        if anew:
            columns = zip(*anew, strict=True)
            await connection.execute(
                self._queries["mark_refused"], dict(zip(("ids", "reasons", "details"), map(list, columns), strict=True))
            )
        if settled.stored:
            await connection.execute(self._queries["upsert_replayed_states"], _states(judged, settled.stored))
            counts = Counter(reading.route.tenant_id for reading in settled.stored)
            tenants = sorted(counts)
            minute = round(self._clock.wall() * MICROSECONDS) // MINUTE * MINUTE
            books = {
                "minute": moment(minute),
                "instance": self._instance,
                "tenants": tenants,
                "counts": [counts[tenant_id] for tenant_id in tenants],
            }
            await connection.execute(self._queries["add_replayed"], books)

    async def _advance(
        self,
        connection: Connection[Any],
        replay: Replay,
        judged: Sequence[RevalidatedMessage],
        settled: _Settled,
        refused: Mapping[str, int],
    ) -> None:
        """Move the job on, in the same transaction."""
        reasons = Counter(refused) + Counter(refusal.reason.value for _, refusal in settled.refused)
        ended = len(judged) < REPLAY_ROWS
        progress = {
            "replay": replay.replay_id,
            "done": replay.last_id if ended else judged[-1].message.event_id,
            "replayed": len(settled.stored),
            "duplicate": len(settled.duplicates),
            "refused": msgspec.json.encode(reasons).decode(),
            "gone": settled.gone,
            "ended": self._now() if ended else None,
        }
        await connection.execute(self._queries["advance_replay"], progress)
        if ended:
            log.info("replay done", replay=replay.replay_id, tenant=replay.selection.tenant_id, by=replay.created_by)

    def _remember(self, judged: Sequence[RevalidatedMessage], stored: Sequence[Reading]) -> None:
        """Move the states in memory, too: a device that talks on must not set back what was just written."""
        for reading in stored:
            state = reading.state
            received_at = judged[reading.index].message.received_at
            state.seen_at = max(state.seen_at, received_at)
            state.heard_at = max(state.heard_at, received_at)
            if reading.adjusted:
                state.adjusted_at = max(state.adjusted_at, received_at)
            state.nulls += reading.nulls
            if not reading.late:
                state.latest = remember(state.latest, reading.metrics)
            self._states.touch(state)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def _poisoned(
    judged: Sequence[RevalidatedMessage], poison: Sequence[RefusedSubmission]
) -> list[tuple[HeldMessage, Refusal]]:
    return [(judged[refused.index].message, Refusal(refused.reason, refused.detail)) for refused in poison]


def _states(judged: Sequence[RevalidatedMessage], stored: Sequence[Reading]) -> dict[str, Any]:
    """Parameters of the statement that moves device states, and marks the hours of all that was stored.

    Of each device the newest counts, oldest readings first.
    """
    newest: dict[tuple[str, str], int] = {}
    heard: dict[tuple[str, str], int] = {}
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for reading in sorted(stored, key=lambda reading: reading.ts):
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
