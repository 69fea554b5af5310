"""The third stage: the pipeline from a submission to its commit, and the work beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from appliance.alerts.conditions.losses import LossObserver
from appliance.alerts.open_counts import count_open
from appliance.clock import Clock, offset_in_doubt
from appliance.devices.live.listening import NOTICEABLE, Listening
from appliance.devices.live.offline_statuses import OfflineStatuses
from appliance.devices.live.presence import PresenceThresholds
from appliance.devices.live.presence_counts import count_presences
from appliance.devices.live.state_book import StateBook
from appliance.devices.live.state_observer import WRITE_INTERVAL, DeviceStateObserver
from appliance.devices.live.unaccepted_traffic import UnacceptedTraffic
from appliance.diagnostics import reports
from appliance.history.roller import Roller
from appliance.ingest.admission import Admission
from appliance.ingest.batch import MICROSECONDS
from appliance.ingest.failing_check import knowledge
from appliance.ingest.limits.allowances import AllowanceNotes, TenantAllowances
from appliance.ingest.limits.backlog import BacklogCredit
from appliance.ingest.limits.bucket import SECOND
from appliance.ingest.limits.buckets import CLOCK_DOUBT
from appliance.ingest.observer import Observer
from appliance.ingest.pipeline import TICK_SECONDS, Pipeline
from appliance.ingest.quarantine.replayer import Replayer
from appliance.ingest.quarantine.replays import REPLAY_CHANNEL
from appliance.ingest.quarantine.retention import QuarantineRetention
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.ingest.writer import Writer
from appliance.runtime.tree import Service
from appliance.supervisor.alerting import open_engine
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.knowledge import Knowledge
from appliance.supervisor.retention import Retention, start_retention
from appliance.supervisor.storage import Storage
from appliance.watchdog.probes import PROBES_AN_INTERVAL, ProbeObserver
from appliance.watchdog.proof import Proof
from appliance.web.live.feed import LiveFeed

UNKNOWN_ABSENCE = 86_400.0
"""Seconds credited at the least for an absence whose length is unknown: what devices commonly keep."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What takes messages in."""

    live: LiveFeed
    admission: Admission
    writer: Writer
    pipeline: Pipeline
    service: Service
    """Of the pipeline."""
    backlog: BacklogCredit
    listening: Listening
    offline_statuses: OfflineStatuses
    away: Callable[[float], None]
    """Notes that no messages were taken in the last seconds: no limit and no presence counts that time."""
    retention: Retention
    proof: Proof
    """Whether messages get from the broker to the outbox."""


async def open_stream(base: Foundation, storage: Storage, known: Knowledge) -> Stream:
    """Start the pipeline. Nothing feeds it yet."""
    config, clock, pool, tree = base.config, base.clock, storage.pool, base.tree
    backlog = BacklogCredit(known.limiter, clock, config.ingest.receive_max)
    silence = PresenceThresholds(config.presence.stale_after, config.presence.offline_after)
    listening = Listening(pool, base.instance, clock, silence)
    away = note_absence([backlog.away, listening.away], known.states, clock)
    live = LiveFeed(clock)
    registry = knowledge(known.registry, base.failpoints)
    kept_since = KeptSince(config.retention.days)
    admission = Admission(config.ingest, kept_since, registry, known.charging, partial(offset_in_doubt, clock))
    proof = Proof(clock, config.delivery.heartbeat_seconds)
    probes = ProbeObserver(proof, base.instance, clock)
    observers = [*_observers(base, known), await open_engine(base, storage), probes]
    room = base.disk.until_room if storage.postgres is not None else trio.lowlevel.checkpoint
    writer = Writer(pool, base.instance, observers, clock, base.metrics, base.failpoints, room, base.disk.suspect)
    offline_statuses = OfflineStatuses(known.states, pool, clock)
    pipeline = Pipeline(
        admission,
        writer,
        known.states,
        offline_statuses,
        known.registry,
        base.metrics,
        clock,
        config.ingest.batch_size,
        [live.publish],
        away,
        min(TICK_SECONDS, proof.interval / PROBES_AN_INTERVAL),
    )
    backlog.away(away_before_start(clock, storage.newest_receipt))
    report = reports.report_pipeline(pipeline, base.metrics.committed, config.ingest.receive_max)
    service, _ = await tree.start("pipeline", pipeline.run, report=report)
    roller = await _start_chores(base, storage, known, pipeline)
    retention = await start_retention(base, storage, kept_since, roller)
    return Stream(
        live, admission, writer, pipeline, service, backlog, listening, offline_statuses, away, retention, proof
    )


def away_before_start(clock: Clock, newest: float | None) -> float:
    """Return the seconds for which this instance was away before its start; ``newest``: its last receipt, if any.

    While the clock is in doubt nobody knows how long that was: a day at least, or devices lose what they kept.
    """
    if newest is None:
        return 0.0
    away = clock.now() - newest
    return away if clock.trusted else max(away, UNKNOWN_ABSENCE)


def _observers(base: Foundation, known: Knowledge) -> list[Observer]:
    """Return what is written beside the readings before alerts are, in the order of the tables."""
    longest = base.config.limits.backlog + CLOCK_DOUBT / SECOND
    notes = AllowanceNotes(known.limiter, base.clock, longest)
    return [
        DeviceStateObserver(known.states, base.instance, WRITE_INTERVAL, notes.note),
        TenantAllowances(known.limiter, base.clock, longest),
        LossObserver(),
    ]


def note_absence(
    listeners: Sequence[Callable[[float], None]], states: StateBook, clock: Clock
) -> Callable[[float], None]:
    """Return what is called with the seconds in which no messages were taken; it tells the ``listeners``."""

    def away(seconds: float) -> None:
        for told in listeners:
            told(seconds)
        if seconds >= NOTICEABLE:
            states.interrupted(round(clock.now() * MICROSECONDS))

    return away


async def _start_chores(base: Foundation, storage: Storage, known: Knowledge, pipeline: Pipeline) -> Roller:
    """Start what works beside the pipeline on what it has stored or refused; return what rolls up."""
    config, tree, pool, clock = base.config, base.tree, storage.pool, base.clock
    await tree.start("unaccepted traffic", UnacceptedTraffic(known.states, known.registry).run)
    await tree.start("presence counts", count_presences, pool, base.metrics)
    await tree.start("open alerts", count_open, pool, clock, base.metrics, known.maintenance)
    retention = QuarantineRetention(pool, base.instance, clock, config.quarantine, base.metrics)
    await tree.start("quarantine retention", retention.run)
    roller = Roller(pool, clock, keep_days=config.retention.rollup_days)
    await tree.start("roll-ups", roller.run)
    replayer = Replayer(
        pool,
        base.instance,
        known.registry,
        known.states,
        clock,
        config.ingest,
        config.retention,
        lambda: pipeline.in_flight,
        base.metrics,
        base.disk.until_room if storage.postgres is not None else trio.lowlevel.checkpoint,
    )
    storage.changes.subscribe(REPLAY_CHANNEL, replayer.wake, replayer.wake)
    await tree.start("replays", replayer.run)
    return roller
