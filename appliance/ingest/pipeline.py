"""The pipeline: submissions in, through admission and the writer in order, settled after the commit.

Three tasks share the work. While one batch commits, the messages that arrive are admitted into the batch buffer and
become the next batch; what follows from the previous commit (the sources get their answers, device states move,
metrics are counted, listeners are told) is done beside both. None of them keeps Postgres waiting: admission gives way
every ADMIT_SLICE messages. Sources submit and wait, which is the back-pressure, and the sources' own windows (the
broker's receive maximum, one HTTP request a connection) bound the number of messages in flight.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.db.sqlstate import Failure, classify
from appliance.devices.live.offline_statuses import OfflineStatuses, says_offline
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.devices.registry.provisioning import DeviceKey
from appliance.ingest.admission import Admission
from appliance.ingest.batch import (
    MICROSECONDS,
    MINUTE,
    UNPAID,
    Batch,
    BatchOutcome,
    Reading,
    RefusedSubmission,
    Settlement,
    Submission,
)
from appliance.ingest.batch_buffer import BatchBuffer, Work
from appliance.ingest.listeners import Listener, Listeners
from appliance.ingest.summary import BatchSummary, LastReading
from appliance.ingest.writer import Writer
from appliance.metrics import Metrics
from appliance.reading import Reason

log = structlog.get_logger(__name__)

PASSING = frozenset({Failure.RETRY, Failure.RESOURCES})
"""Failures of the database that pass by themselves."""
_LAST_READINGS = 20
"""Readings of a batch that its summary holds."""
ADMIT_SLICE = 128
"""Messages admitted before the other tasks have their turn: some 0.6 ms, for which Postgres may have to wait."""
TICK_SECONDS = 1.0
"""Seconds without a batch after which observers are asked whether they are due."""
LAST_TICK_SECONDS = 1.0
"""Seconds that the last tick of a drain may take: what it does not write is rebuilt at the next start."""

Done = tuple[BatchOutcome, list[Submission]]


class Pipeline:
    """Takes submissions until it is drained.

    ``listeners`` are told of each committed batch, ``on_held`` of the seconds for which messages were held up. Without
    a batch, observers are asked every ``tick_interval`` seconds whether they are due.
    """

    def __init__(
        self,
        admission: Admission,
        writer: Writer,
        states: StateBook,
        offline_statuses: OfflineStatuses,
        registry: Registry,
        metrics: Metrics,
        clock: Clock,
        batch_size: int,
        listeners: Sequence[Listener],
        on_held: Callable[[float], None],
        tick_interval: float,
    ) -> None:
        self._admission = admission
        self._writer = writer
        self._states = states
        self._offline_statuses = offline_statuses
        self._registry = registry
        self._metrics = metrics
        self._clock = clock
        self._batch_size = batch_size
        self._listeners = Listeners(listeners)
        self._on_held = on_held
        self._tick_interval = tick_interval
        self.in_flight = 0
        """Messages taken and not yet settled."""
        self.committed_at = float("-inf")
        """Monotonic time of the last commit."""
        self._admitting_since: float | None = None
        self._writing_since: float | None = None
        self._intake, self._submissions = trio.open_memory_channel[Submission](0)
        self._buffer = BatchBuffer(batch_size)
        self._arrived = 0
        self._settled = trio.Event()

    @property
    def held_since(self) -> float | None:
        """Return since when the oldest messages that are being worked on wait for Postgres; None without any."""
        waiting = [since for since in (self._writing_since, self._admitting_since) if since is not None]
        return min(waiting, default=None)

    async def submit(self, submission: Submission) -> None:
        """Hand over messages; return when they are being worked on. Raises trio.ClosedResourceError after a drain."""
        await self._intake.send(submission)

    async def drain(self) -> None:
        """Take no more submissions; return when all that were taken are committed and settled."""
        self._intake.close()
        await self._settled.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Process submissions until drained."""
        committed, done = trio.open_memory_channel[Done](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._admit)
            nursery.start_soon(self._commit, committed)
            nursery.start_soon(self._conclude, done)
            task_status.started()
        with trio.move_on_after(LAST_TICK_SECONDS):
            await self._writer.tick()
        self._settled.set()

    async def _admit(self) -> None:
        with closing(self._buffer), self._submissions:
            async for submission in self._submissions:
                await self._buffer.room(len(submission.messages))
                taken_at = self._clock.monotonic()
                batch = await self._admit_submission(submission)
                if submission.admitted is not None:
                    submission.admitted(batch)
                self._buffer.add(Work(batch, [submission], taken_at))

    async def _admit_submission(self, submission: Submission) -> Batch:
        """Admit the messages of a submission; only an unknown device costs a query."""
        messages, first = submission.messages, self._arrived
        qos0 = frozenset([first + position for position in submission.qos0])
        batch = Batch(messages, round(submission.received * MICROSECONDS), qos0=qos0, first=first)
        self._arrived += len(messages)
        self.in_flight += len(messages)
        for start in range(0, len(messages), ADMIT_SLICE):
            self._admission.admit_slice(
                batch, start, start + ADMIT_SLICE, self._clock.monotonic(), submission.redelivered
            )
            await trio.lowlevel.checkpoint()
        if batch.waiting or batch.unknown_tenants:
            self._admitting_since = started = self._clock.monotonic()
            await self._look_up(batch)
            self._admitting_since = None
            self._on_held(self._clock.monotonic() - started)  # now: more is admitted before this batch is committed
        return batch

    async def _look_up(self, batch: Batch) -> None:
        """Admit the messages whose devices are not in memory. Waits for Postgres as long as it takes."""
        backoff = Backoff(first=0.05, maximum=2.0)
        while batch.waiting or batch.unknown_tenants:
            wanted: dict[DeviceKey, str | None] = {}
            paid: set[DeviceKey] = set()
            for candidate in batch.waiting:
                key = candidate.route.key
                wanted[key] = wanted.get(key) or candidate.envelope.site
                if candidate.charge not in UNPAID:
                    paid.add(key)
            self._metrics.registry_lookups.inc(len(wanted))
            try:
                if wanted:
                    statuses = await self._registry.resolve(wanted, wanted.keys() - paid)
                    self._admission.resume(batch, statuses, self._clock.monotonic())
                if batch.unknown_tenants:
                    await self._registry.tenants(batch.unknown_tenants)
                    self._admission.reassign_unknown_tenants(batch)
            except (psycopg.Error, OSError) as error:
                if isinstance(error, psycopg.Error) and classify(error) not in PASSING:
                    # Trying again would change nothing, and one message that never settles holds back all others.
                    self._admission.give_up(batch, error)
                    return
                log.warning("batch held", messages=len(batch.messages), cause="REGISTRY", error=str(error).strip())
                await trio.sleep(backoff.next())

    async def _commit(self, committed: "trio.MemorySendChannel[Done]") -> None:
        async with committed:
            while True:
                work = None
                with trio.move_on_after(self._tick_interval):
                    work = await self._buffer.take()
                    if work is None:
                        break
                if work is None:
                    started = self._clock.monotonic()
                    await self._writer.tick()
                    # Before anything is taken, which makes room: what is admitted then must be limited accordingly.
                    self._on_held(self._clock.monotonic() - started)
                    continue
                self._writing_since = self._clock.monotonic()
                outcome = await self._writer.write(work.batch)
                self._writing_since, self.committed_at = None, self._clock.monotonic()
                self._metrics.latency_seconds.observe(max(0.0, self._clock.now() - work.batch.received))
                # By the monotonic clock: a jump of the wall clock holds nothing up.
                self._on_held(self._clock.monotonic() - work.taken_at)
                await committed.send((outcome, work.submissions))

    async def _settle(self, outcome: BatchOutcome, submissions: list[Submission]) -> None:
        first = outcome.batch.first
        for submission in submissions:
            last = first + len(submission.messages)
            await submission.settle(Settlement(outcome, first, last))
            first = last

    async def _conclude(self, done: "trio.MemoryReceiveChannel[Done]") -> None:
        """Do what follows from a commit, while the next one is under way."""
        async with done:
            async for outcome, submissions in done:
                # First: a source that does not take its answer must not keep it from the next write of states.
                self._move_states(outcome)
                await self._settle(outcome, submissions)
                self._count(outcome)
                self._listeners.notify(_summary(outcome, self._clock.now()))

    def _move_states(self, outcome: BatchOutcome) -> None:
        """Move the states of devices to what was committed. In one go: a write of states finds all of it or nothing."""
        received_at = outcome.batch.received_at
        if outcome.batch.with_status:
            self._move_in_order(outcome)
        else:
            touch = self._states.touch
            for reading in outcome.stored:
                state = reading.state
                state.accept(reading, received_at)
                if not state.changed:
                    touch(state)
        now = round(self._clock.now() * MICROSECONDS)
        self._states.stored(outcome.stored, outcome.batch.span(), now)
        for reading in outcome.duplicates:
            self._states.touch(reading.state)  # it was charged like any other: what is left of the allowance is written
        if not outcome.batch.with_status:
            for message in outcome.refused:
                self._move_refused(message, received_at)
        if received_at > now + MINUTE:  # the clock has stepped back since
            self._states.heal(now, None)

    def _move_in_order(self, outcome: BatchOutcome) -> None:
        """Move states message by message, as they arrived: what an `offline` means depends on what is around it."""
        received_at = outcome.batch.received_at
        messages: list[Reading | RefusedSubmission] = [*outcome.stored, *outcome.refused]
        for message in sorted(messages, key=lambda message: message.index):
            if isinstance(message, RefusedSubmission):
                self._move_refused(message, received_at)
                continue
            if says_offline(message.route.kind, message.metrics):
                self._offline_statuses.note(message.state, received_at)
            else:
                message.state.accept(message, received_at)
            self._states.touch(message.state)

    def _move_refused(self, message: RefusedSubmission, received_at: int) -> None:
        if message.tenant_id is None or message.device_id is None:
            return
        if message.reason is Reason.DEVICE_DECOMMISSIONED:
            self._states.forget((message.tenant_id, message.device_id))
        else:
            # The rate limit says nothing about the device: one that is over its limit is accepted, too.
            reason = None if message.reason is Reason.RATE_LIMITED else message.reason.value
            self._states.heard((message.tenant_id, message.device_id), received_at, reason)

    def _count(self, outcome: BatchOutcome) -> None:
        metrics = self._metrics
        size = len(outcome.batch.messages)
        self.in_flight -= size
        metrics.in_flight.set(self.in_flight)
        metrics.batch_size.observe(size)
        metrics.null_metrics.inc(sum([reading.nulls for reading in outcome.stored]))
        if outcome.batch.with_unplaced:
            metrics.unplaced.inc(sum([reading.unplaced for reading in outcome.stored]))
        metrics.messages.labels("stored").inc(len(outcome.stored))
        metrics.messages.labels("duplicate").inc(len(outcome.duplicates))
        metrics.messages.labels("refused").inc(len(outcome.refused))
        metrics.messages.labels("cleared").inc(len(outcome.batch.cleared))
        for reason, count in Counter([message.reason for message in outcome.refused]).items():
            metrics.refusals.labels(reason.value).inc(count)
            if reason is Reason.INVALID_JSON:
                metrics.invalid_json.inc(count)
            elif reason is Reason.INVALID_ENCODING:
                metrics.invalid_encoding.inc(count)


def _summary(outcome: BatchOutcome, committed_at: float) -> BatchSummary:
    received_at = outcome.batch.received_at / MICROSECONDS
    return BatchSummary(
        committed_at=committed_at,
        received=len(outcome.batch.messages),
        stored=len(outcome.stored),
        refused=len(outcome.refused),
        duplicate=len(outcome.duplicates),
        cleared=len(outcome.batch.cleared),
        reasons=Counter([message.reason for message in outcome.refused]),
        last_readings=[_last_reading(reading, received_at) for reading in outcome.stored[-_LAST_READINGS:]],
        tenants=outcome.tenants(),
    )


def _last_reading(reading: Reading, received_at: float) -> LastReading:
    route = reading.route
    return LastReading(
        route.tenant_id, route.device_id, reading.ts / MICROSECONDS, received_at, route.kind, reading.metrics
    )
