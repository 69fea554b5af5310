"""What a rule would have opened over the stored history: the preview of the editor.

Enters: a rule that is perhaps not saved yet, and a read-only transaction of whoever asks. Leaves: the openings of the
last days, and what was checked to find them. Never: a change, a lock, or a wait of ingest - it reads page by page, with
the step that the stream uses, and stops after a number of readings or seconds.

Readings that came late are left out, as in the stream. What came before these days is not known here: a breach that
began earlier begins with the first reading.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
import trio

from appliance.alerts.kinds.comparison import DOWNWARD, UPWARD, is_number
from appliance.alerts.kinds.kind import REST, Event, Memory, Newest, Parameters, RuleState, Sample
from appliance.alerts.rules import silence_preview
from appliance.alerts.rules.findings import (
    DAYS,
    MAX_SECONDS,
    STATEMENTS,
    Covered,
    Findings,
    Opening,
    Preview,
    PreviewedRule,
    Stop,
)
from appliance.db.trio_psycopg import Connection

PAGE = 1000
"""Readings that one statement reads."""
TURN = 100
"""Readings that are judged without letting others go on: 1 to 10 ms."""
DEVICES_AT_ONCE = 200
"""Devices that one statement names."""
MICRO = 1_000_000
BEFORE_ALL = (-(2**53), 0)
"""A position before all readings: microseconds since 1970, and a digest."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


async def run(connection: Connection[Any], tenant_id: str, rule: PreviewedRule, *, now: datetime) -> Preview:
    """Return what the rule would have opened in the last DAYS days.

    The transaction of ``connection`` is read only and used for nothing else: its statements are bounded in time.
    """
    first = now - timedelta(days=DAYS)
    found = Findings()
    covered: list[Covered] = []
    try:
        async with connection.transaction():  # a statement that is stopped ends only this one
            await connection.execute(STATEMENTS["bound_statements"], {"milliseconds": round(1000 * MAX_SECONDS)})
            covered = await _covered(connection, tenant_id, rule)
            reporting = [device for device in covered if device.reports]
            find = silence_preview.find if rule.kind.step is None else _judge_all
            await find(connection, tenant_id, rule, reporting, found, first, now)
    except psycopg.errors.QueryCanceled:
        found.stopped = Stop.TIME
    return Preview(
        first=first,
        last=now,
        alerts=sum(found.by_device.values()),
        openings=sorted(found.openings, key=lambda one: (-one.started_at, one.device_id)),
        by_device=dict(sorted(found.by_device.items(), key=lambda item: (-item[1], item[0]))),
        covered=[device.device_id for device in covered],
        reporting=[device.device_id for device in covered if device.reports],
        checked=found.checked,
        readings=found.readings,
        seconds=found.seconds,
        stopped=found.stopped,
    )


async def _covered(connection: Connection[Any], tenant_id: str, rule: PreviewedRule) -> list[Covered]:
    named = {name: list(names) for name, names in msgspec.structs.asdict(rule.scope).items()}
    parameters = {"tenant": tenant_id, "metric": rule.parameters.metric} | named
    cursor = await connection.execute(STATEMENTS["select_covered"], parameters)
    return [Covered(*row) for row in await cursor.fetchall()]


async def _judge_all(
    connection: Connection[Any],
    tenant_id: str,
    rule: PreviewedRule,
    devices: Sequence[Covered],
    found: Findings,
    first: datetime,
    last: datetime,
) -> None:
    """Judge the readings of the devices, one device after the other."""
    fills = 0.0 if rule.kind.refill is None else rule.kind.refill(rule.parameters)
    names = [device.device_id for device in devices]
    begins = round(first.timestamp() * MICRO)
    judge: _Judge | None = None
    async with aclosing(_pages(connection, tenant_id, names, first - timedelta(seconds=fills), last)) as pages:
        async for page in pages:
            for index, (place, ts, metrics) in enumerate(page):
                if index % TURN == 0:
                    await trio.lowlevel.checkpoint()
                if judge is None or judge.place != place:
                    _finish(judge, found)
                    judge = _Judge(place, names[place], rule, begins)
                found.add(judge.take(ts, _decode(metrics)))
            found.readings += len(page)
            found.checked = judge.place if judge is not None else 0
            found.stopped = found.due_stop()
            if found.stopped is not None:
                break
    _finish(judge, found)
    if found.stopped is None:
        found.checked = len(names)


Page = list[tuple[int, int, str]]
"""Of each reading the place of its device, its time in microseconds, and its metrics as JSON."""


async def _pages(
    connection: Connection[Any], tenant_id: str, names: Sequence[str], first: datetime, last: datetime
) -> AsyncGenerator[Page, None]:
    """Yield the readings of the devices page by page."""
    at, (ts, digest) = 0, BEFORE_ALL
    while at < len(names):
        group = list(names[at : at + DEVICES_AT_ONCE])
        parameters = {"tenant": tenant_id, "devices": group, "first": first, "last": last, "limit": PAGE}
        parameters |= {"after_ts": ts, "after_digest": digest}
        cursor = await connection.execute(STATEMENTS["read_readings"], parameters, prepare=False)
        rows = await cursor.fetchall()
        if rows:
            yield [(at + place - 1, when, metrics) for place, when, _, metrics in rows]
        if len(rows) < PAGE:
            at, (ts, digest) = at + len(group), BEFORE_ALL
        else:
            place, ts, digest, _ = rows[-1]
            at += place - 1


class _Judge:
    """Judges the readings of one device in order, as the stream does."""

    def __init__(self, place: int, device_id: str, rule: PreviewedRule, begins: int) -> None:
        """``begins``: readings before that moment fill a memory, and are not judged."""
        self.place = place
        self._device_id = device_id
        self._rule = rule
        self._begins = begins
        self._state: RuleState = REST
        self._judged = begins - 1
        self._memory: Memory | None = None if rule.kind.memory is None else rule.kind.memory(rule.parameters)
        self._latest: dict[str, Newest] = {}
        self._open: tuple[float, Any, Any] | None = None
        self._farther = farther(rule.parameters)

    def take(self, ts: int, metrics: Mapping[str, Any]) -> Opening | None:
        """Judge a reading; return the alert that it closes, if any."""
        metric, latest = self._rule.parameters.metric, self._latest
        closed = None
        if metric is not None and metric in metrics:
            if ts > self._judged:
                self._judged = ts
                closed = self._step(Sample(ts, metrics, lambda name: _newest(name, ts, metrics, latest), latest.get))
            elif ts < self._begins and self._memory is not None and is_number(metrics[metric]):
                self._memory.take(ts, metrics[metric])
        for name, value in metrics.items():
            latest[name] = Newest(value, ts)
        return closed

    def finish(self) -> Opening | None:
        """Return the alert that is open still, if any."""
        return None if self._open is None else self._closed(None)

    def _step(self, sample: Sample) -> Opening | None:
        step = self._rule.kind.step
        assert step is not None, "kinds without a step are judged by their silences"  # noqa: S101 - narrows the type
        self._state, event, value = step(self._rule.parameters, self._state, sample, self._memory)
        at = sample.ts / MICRO
        if event is Event.OPENED:
            self._open = (at, value, value)
        elif event is Event.TRIGGERED and self._open is not None:
            started, first, extreme = self._open
            self._open = (started, first, self._farther(extreme, value))
        elif event is Event.CLOSED and self._open is not None:
            return self._closed(at)
        return None

    def _closed(self, at: float | None) -> Opening:
        assert self._open is not None, "only an open alert closes"  # noqa: S101 - narrows the type
        started, value, extreme = self._open
        self._open = None
        return Opening(self._device_id, started, at, value, extreme)


def farther(parameters: Parameters) -> Callable[[Any, Any], Any]:
    """Return which of two values is farther beyond the limit; of rules without a direction, the first."""
    operator = getattr(parameters, "operator", None)
    if operator in UPWARD:
        return max
    return min if operator in DOWNWARD else lambda first, _: first


def _newest(name: str, ts: int, metrics: Mapping[str, Any], latest: Mapping[str, Newest]) -> Newest | None:
    return Newest(metrics[name], ts) if name in metrics else latest.get(name)


def _finish(judge: _Judge | None, found: Findings) -> None:
    if judge is not None:
        found.add(judge.finish())
