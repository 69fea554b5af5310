"""Judges the readings of each batch by the rules, and writes alerts in the transaction of the readings."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import structlog
from psycopg import AsyncCursor

from appliance.alerts.engine.changes import Changes, Key, Triggers, encode, fingerprint
from appliance.alerts.engine.judge import judge
from appliance.alerts.engine.memories import Memories
from appliance.alerts.engine.moments import SECOND, moment
from appliance.alerts.engine.plan import PlannedRule
from appliance.alerts.engine.rule_book import RuleBook
from appliance.alerts.engine.watch import Position, Watch
from appliance.alerts.kinds.kind import Newest, RuleState
from appliance.clock import Clock
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.state import DeviceKey, DeviceState
from appliance.ingest.batch import Batch, BatchOutcome, Reading
from appliance.ingest.observer import LOCK_WAIT_MS
from appliance.metrics import Metrics
from appliance.reading import hops

COUNT_INTERVAL = SECOND
"""Counts of an open alert are written no more often."""
MAX_COUNTED = 1000
"""Open alerts whose counts are written with one batch, those that wait longest first."""
OLD = 60 * SECOND
"""A reading older than that on arrival is of a backlog: the notices of its alert are due only that much later."""
MAX_MISSED = 20_000
"""Readings of batches that were committed without the engine, kept to be judged with the next one."""
MAX_SHED = 3
"""Batches in a row that Postgres takes only without alerts, before the readings that were kept are given up."""

log = structlog.get_logger(__name__)

RuleFailed = Callable[[PlannedRule, Exception], None]


class RuleObserver:
    """The observer of batches. ``shared`` tells whether another process judges readings of the same devices."""

    name = "alerts"

    def __init__(
        self,
        book: RuleBook,
        memories: Memories,
        clock: Clock,
        metrics: Metrics,
        shared: Callable[[], bool],
        on_failed: RuleFailed,
    ) -> None:
        self._book = book
        self._memories = memories
        self._clock = clock
        self._metrics = metrics
        self._shared = shared
        self._on_failed = on_failed
        self._queries = statements.load("alert_engine")
        self._waits = statements.load("ingest")
        self._missed: list[Reading] = []
        self._shed = 0
        self._triggers: dict[Key, Triggers] = {}
        self._counted_at = 0
        self._contested: set[DeviceKey] = set()
        self._tried: Changes | None = None
        """Of a try that was neither committed nor given back yet."""
        self._foreseen: Sequence[Reading] | None = None
        """The readings that this try has judged before it was known whether they are stored."""

    def due(self, now: int) -> bool:
        """Return whether a change of the rules waits to be applied, or counts or missed readings to be written."""
        return self._book.told or bool(self._missed) or (bool(self._triggers) and self._count_due(now))

    def foresee(self, readings: Sequence[Reading]) -> None:
        """Judge the readings, unless something must be taken in or read before."""
        self._forget_try()
        if self._outdated() or self._book.missing([reading.route.key for reading in readings]):
            return
        changes = self._tried = Changes()
        judge(self._book.watches, readings, changes)
        self._foreseen = readings

    async def load(self, connection: Connection[Any], outcome: BatchOutcome) -> None:
        """Take in what changed since the last batch, and read what is kept of devices that are not in memory."""
        if self._foreseen is outcome.stored and not self._outdated():
            return
        self._forget_try()
        self._book.apply()
        if not self._book.active:
            self._missed.clear()
            return
        self._memories.apply(self._book.watches)
        heard = [reading.route.key for reading in (*self._missed, *outcome.stored)]
        missing = self._book.missing(heard)
        if missing:
            await self._meet(connection, missing, set(heard), outcome)
        contested, self._contested = self._contested & self._book.watches.keys(), set()
        try:
            if contested:
                parameters = {"milliseconds": LOCK_WAIT_MS}
                await connection.execute(self._waits["begin_effects"], parameters)
                await self._read_positions(connection, "lock_states", contested)
                await connection.execute(self._waits["end_effects"])
            known = self._book.judged(set(heard) - contested - missing) if self._shared() else ()
            if known:
                await self._read_positions(connection, "load_states", known)
        except BaseException:
            self._contested |= contested
            raise

    def prepare(self, outcome: BatchOutcome, now: int) -> "AlertWrite | None":
        """Judge the readings that were stored, those of batches that went by without the engine first."""
        if not self._book.active:
            return None
        changes = self._tried
        if changes is None or self._foreseen is not outcome.stored:
            self._forget_try()
            changes = self._tried = Changes()
            judge(self._book.watches, [*self._missed, *outcome.stored], changes)
        _note_hops(changes, outcome.batch)
        for planned, error in changes.failed:
            self._metrics.rule_errors.inc()
            self._on_failed(planned, error)
        counted = dict(islice(self._triggers.items(), MAX_COUNTED)) if self._count_due(now) else {}
        if not (changes.drafts or changes.taken or counted or self._missed):
            return None
        return AlertWrite(self, changes, counted, now, len(self._missed))

    def missed(self, outcome: BatchOutcome) -> None:
        """Keep the readings of a batch that was committed without alerts: the next one judges them first."""
        if not self._book.active:
            return
        room = MAX_MISSED - len(self._missed)
        readings = [reading for reading in outcome.stored if not reading.late]
        self._missed += readings[:room]
        if len(readings) > room:
            log.error("readings are judged by no rule: alerts could not be written", readings=len(readings) - room)

    def shed(self, error: Exception) -> None:
        """Give up the readings that were kept, if Postgres goes on to refuse what they lead to."""
        self._shed += 1
        if self._shed >= MAX_SHED and self._missed:
            log.error("readings are judged by no rule", readings=len(self._missed), error=str(error).strip())
            self._missed = []

    def rules_failed(self, failed: Iterable[PlannedRule]) -> None:
        """Judge nothing more by rules that raised."""
        for planned in failed:
            self._book.fail(planned)

    def committed(
        self, changes: Changes, counted: Collection[Key], held: Mapping[Key, Triggers], now: int, missed: int
    ) -> None:
        """Make what one try found true; ``held`` are counts that were not written, since somebody held the alert."""
        self._shed = 0
        self._tried = self._foreseen = None
        del self._missed[:missed]
        for key, draft in changes.drafts.items():
            watch = draft.watch
            watch.positions.update(draft.positions)
            watch.values.update(draft.values)
            for rule_key, ts, value in draft.passed:
                watch.filling.setdefault(rule_key, []).append((ts, value))
            if draft.values:
                times = {name: newest.ts for name, newest in draft.values.items() if newest.ts is not None}
                draft.state.note_times(times)
            watch.settle()
            if watch.filling:
                self._memories.want(key, watch)
        for alert in counted:
            self._triggers.pop(alert, None)
        if counted and len(counted) < MAX_COUNTED:
            self._counted_at = now
        for alert, triggers in changes.triggers.items():
            if alert not in counted:
                kept = self._triggers.setdefault(alert, Triggers())
                kept.count, kept.newest = kept.count + triggers.count, max(kept.newest, triggers.newest)
        for alert in (*changes.closed, *changes.opened):
            self._triggers.pop(alert, None)
        self._triggers |= held
        self._metrics.evaluations.inc(changes.evaluations)
        self.rules_failed([planned for planned, _ in changes.failed])

    def given_back(self, changes: Changes) -> None:
        """Read the positions that were to be written again, under lock: a peer may have been there."""
        self._forget_try()
        self._contested |= {key for key, draft in changes.drafts.items() if draft.positions}

    def _forget_try(self) -> None:
        """Let memories forget what they took in a try that was not committed, also one that was cut short."""
        if self._tried is not None:
            self._tried.give_back()
            self._tried = None
        self._foreseen = None

    def _outdated(self) -> bool:
        """Return whether something must be taken in, or read, before readings are judged."""
        book = self._book
        waiting = book.told or self._memories.filled or self._missed or self._contested
        return bool(waiting) or not book.active or self._shared()

    def _count_due(self, now: int) -> bool:
        """Return whether it is time to write counts; a clock that was set back makes it time, too."""
        return not 0 <= now - self._counted_at < COUNT_INTERVAL

    async def _meet(
        self, connection: Connection[Any], keys: set[DeviceKey], heard: set[DeviceKey], outcome: BatchOutcome
    ) -> None:
        """Make the watches of devices that are not in memory, once all is read that they need.

        ``heard`` are the devices of the batch: none of them makes room for another.
        """
        places: dict[DeviceKey, tuple[str | None, tuple[str, ...]]] = {}
        if self._book.scoped(keys):
            cursor = await connection.execute(self._queries["load_devices"], _arrays(keys))
            places = {(row[0], row[1]): (row[2], tuple(row[3])) for row in await cursor.fetchall()}
        unknown = {key for key in keys if self._book.retired(key) is None}
        positions = await self._positions(connection, "load_states", unknown) if unknown else {}
        self._book.make_room(len(keys), heard)
        for key in keys:
            self._book.add(key, *places.get(key, (None, ())))
        for key, rows in positions.items():
            _take_over(self._book.watches[key], rows)
        states = {reading.route.key: reading.state for reading in (*self._missed, *outcome.stored)}
        for key in keys & states.keys():
            _take_values(self._book.watches[key], states[key])

    async def _read_positions(self, connection: Connection[Any], query: str, keys: Iterable[DeviceKey]) -> None:
        for key, rows in (await self._positions(connection, query, keys)).items():
            _take_over(self._book.watches[key], rows)

    async def _positions(
        self, connection: Connection[Any], query: str, keys: Iterable[DeviceKey]
    ) -> dict[DeviceKey, list[tuple[Any, ...]]]:
        cursor = await connection.execute(self._queries[query], _arrays(keys))
        found: dict[DeviceKey, list[tuple[Any, ...]]] = {key: [] for key in keys}
        for row in await cursor.fetchall():
            found[row[0], row[1]].append(row[2:])
        return found


def _note_hops(changes: Changes, batch: Batch) -> None:
    """Note of the alerts that open how often their messages were passed on; of missed ones nobody knows any more."""
    for opening in (*changes.opened.values(), *(past for _, past in changes.past)):
        position = opening.index - batch.first
        if 0 <= position < len(batch.messages):
            opening.hops = hops(batch.messages[position].user_properties)


def _take_values(watch: Watch, state: DeviceState) -> None:
    """Give a watch the newest values that the state of the device knows and it does not."""
    for name in watch.plan.named - watch.values.keys():
        if name in state.latest:
            watch.values[name] = Newest(state.latest[name], state.metric_times.get(name))


def _take_over(watch: Watch, rows: Sequence[tuple[Any, ...]]) -> None:
    """Make the positions of a device those of its rows; what telemetry tells again stays."""
    if not rows and not watch.positions:
        return
    watch.positions = {}
    for rule_id, rule_version, version, judged_ts, state in rows:
        planned = watch.plan.by_key.get(str(rule_id))
        if planned is not None and planned.rule.version == rule_version:
            read = msgspec.json.decode(state, type=RuleState)
            watch.positions[planned.key] = Position(rule_version, read, version, judged_ts)
    watch.settle()


def _arrays(keys: Iterable[DeviceKey]) -> dict[str, list[str]]:
    ordered = sorted(keys)
    return {"tenants": [key[0] for key in ordered], "devices": [key[1] for key in ordered]}


class AlertWrite:
    """What one try of a batch writes."""

    __slots__ = ("_changes", "_counted", "_counting", "_counts", "_missed", "_now", "_observer")

    def __init__(
        self, observer: RuleObserver, changes: Changes, counted: dict[Key, Triggers], now: int, missed: int
    ) -> None:
        self._observer = observer
        self._changes = changes
        self._counted = counted
        self._now = now
        self._missed = missed
        self._counts: dict[Key, Triggers] = {}
        self._counting: AsyncCursor[Any] | None = None
        """Names the alerts that somebody held, once it is answered."""

    async def write(self, connection: Connection[Any]) -> None:
        """Queue the statements, each sorted by its key: states, alerts that end, alerts that open, counts."""
        changes, queries = self._changes, self._observer._queries  # noqa: SLF001 - the two are one
        states = changes.state_rows(self._now)
        if states:
            await connection.execute(queries["write_states"], {"rows": encode(states).decode()})
        closed = self._closed_rows()
        if closed:
            await connection.execute(queries["close_alerts"], {"rows": encode(closed).decode(), **self._times("now")})
        opened = [(key, opening) for key, opening in (*changes.past, *changes.opened.items())]
        if opened:
            rows = sorted([opening.row(key[0], key[1]) for key, opening in opened], key=lambda row: row[:2])
            ends = {"tenants": [row[0] for row in rows], "fingerprints": [row[1] for row in rows]}
            await connection.execute(queries["cancel_ends"], ends)
            times = self._times("now", "old", "due")
            await connection.execute(queries["open_alerts"], {"rows": encode(rows).decode(), **times})
        counts = self._count_rows()
        if counts:
            self._counting = await connection.execute(queries["count_triggers"], {"rows": encode(counts).decode()})

    def committed(self) -> None:
        """Make it the engine's."""
        self._observer.committed(self._changes, self._counted, self._held(), self._now, self._missed)

    def given_back(self) -> None:
        """Leave the engine as it was."""
        self._observer.given_back(self._changes)

    def _times(self, *names: str) -> dict[str, Any]:
        moments = {"now": self._now, "old": self._now - OLD, "due": self._now + OLD}
        return {name: moment(moments[name]) for name in names}

    def _closed_rows(self) -> list[tuple[Any, ...]]:
        rows = []
        for key, (ts, value) in sorted(self._changes.closed.items(), key=lambda item: _order(item[0])):
            triggers = self._triggers_of(key)
            details = {"ts": ts, "value": value}
            rows.append((key[0], fingerprint(key[2], key[1]), triggers.count, triggers.newest, details))
        return rows

    def _count_rows(self) -> list[tuple[Any, ...]]:
        changes = self._changes
        ended = changes.closed.keys() | changes.opened.keys()
        found = [(key, self._triggers_of(key), False) for key in self._counted.keys() - ended]
        found += [(key, opening.triggers, True) for key, opening in changes.opened.items()]
        found.sort(key=lambda item: (_order(item[0]), item[2]))
        self._counts = {key: triggers for key, triggers, _ in found}
        return [
            (key[0], fingerprint(key[2], key[1]), triggers.count, triggers.newest, first)
            for key, triggers, first in found
        ]

    def _held(self) -> dict[Key, Triggers]:
        """Return the counts of alerts that somebody held."""
        answer = None if self._counting is None else self._counting.pgresult
        if answer is None or not answer.ntuples:
            return {}
        named = {tuple(_text(answer.get_value(row, column)) for column in (0, 1)) for row in range(answer.ntuples)}
        return {key: triggers for key, triggers in self._counts.items() if _order(key) in named}

    def _triggers_of(self, key: Key) -> Triggers:
        kept, found = self._observer._triggers.get(key), self._changes.triggers.get(key)  # noqa: SLF001
        counted = [triggers for triggers in (kept, found) if triggers is not None]
        return Triggers(sum([one.count for one in counted]), max([one.newest for one in counted], default=0))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()


def _order(key: Key) -> tuple[str, str]:
    return key[0], fingerprint(key[2], key[1])
