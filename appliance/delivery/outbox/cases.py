"""Due jobs read with what a decision needs to know of them: rows of the database become cases here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox.decisions import MINUTE, Case, Moment, RouteTerms, Summary
from appliance.delivery.outbox.job import JobEvent, Reason, Receipt
from appliance.delivery.routes.route import QuietHours
from appliance.severity import Severity

STATEMENTS = statements.load("outbox")

LOCK_TIMEOUT_MS = 500
"""Milliseconds that a statement of the outbox waits for a row, as the engine of alerts does."""

GATHERED_BY = {Summary.BURST: Reason.MERGING.value, Summary.RESTORED: Reason.UNCONFIRMED.value}
"""Why jobs wait that a summary tells together."""

SEVERITIES = [severity.value for severity in Severity]


class Windows(Protocol):
    """The maintenance windows, which are known above deliveries."""

    async def refresh(self) -> None:
        """Read what has changed. Raises psycopg.Error and OSError."""
        ...

    def until(
        self, tenant_id: str, site_id: str | None, device_id: str | None, tags: Collection[str], now: float
    ) -> float | None:
        """Return until when a window covers an alert, in seconds since 1970; None: none does."""
        ...


@dataclass(frozen=True, slots=True)
class DueJob:
    """A job that a claim has locked, and its case."""

    job_id: int
    alert_id: int
    route_id: UUID
    event: JobEvent
    occurrence: int
    message_id: UUID
    opening_id: UUID | None
    """Of an end or an acknowledgement: the message_id of the OPEN before it."""
    tries: int
    attempts: int
    fingerprint: str
    blocked: bool
    """Whether an earlier job of the same alert and route is not finished."""
    case: Case


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs of an integration are read."""

    tenant_id: str
    integration_id: UUID
    busy: Collection[int]
    """Jobs that this process works on."""
    limit: int
    worst_first: bool = False
    """Whether they come by severity, newest first; else as they were due."""
    summary: Summary | None = None
    """None: what is due and not blocked; else what a summary of a route could tell."""
    route_id: UUID | None = None
    event: JobEvent | None = None
    ended: int | None = None
    """The alert of whose notices of the route only the end is read; None: of any alert."""


class CaseReader:
    """Reads cases in one transaction, each route's terms once."""

    def __init__(self, connection: Connection[Any], at: Moment, windows: Windows, *, on: bool, may_merge: bool) -> None:
        """``on``: whether the integration is enabled; ``may_merge``: whether its type can tell alerts together."""
        self._connection = connection
        self._at = at
        self._windows = windows
        self._on = on
        self._may_merge = may_merge
        self._terms: dict[UUID, tuple[RouteTerms, int]] = {}

    async def read(self, wanted: Wanted) -> list[DueJob]:
        """Return the jobs, locked until the transaction ends; without those that somebody else has locked."""
        if wanted.ended is not None:
            picks = ["pick_end"]
        elif wanted.summary is not None:
            picks = ["pick_ended" if wanted.summary is Summary.ENDED else "pick_gathered"]
        else:
            picks = ["pick_worst", "pick_due"] if wanted.worst_first else ["pick_due"]
        picked: list[int] = []
        for pick in picks:
            cursor = await self._connection.execute(STATEMENTS[pick], pick_parameters(wanted, self._at))
            picked += [row[0] for row in await cursor.fetchall()]
        return await self.read_picked(wanted, picked)

    async def read_picked(self, wanted: Wanted, picked: Sequence[int]) -> list[DueJob]:
        """Return jobs that were picked and locked before."""
        if not picked:
            return []
        parameters = {
            "tenant": wanted.tenant_id,
            "ids": list(picked),
            "summary": wanted.summary is not None,
            "now": moment(self._at.now),
            "minute": moment(self._at.now // MINUTE * MINUTE),
        }
        async with self._connection.pipeline():
            cases = await self._connection.execute(STATEMENTS["select_cases"], parameters)
            terms = await self._connection.execute(STATEMENTS["terms_of_routes"], parameters)
        for row in await terms.fetchall():
            self._terms.setdefault(row[0], self._terms_of(row))
        rows = {row[0]: row for row in await cases.fetchall()}
        jobs = [self._due(wanted.tenant_id, rows[job_id]) for job_id in picked if job_id in rows]
        return worst_first(jobs) if wanted.worst_first else jobs

    def _terms_of(self, row: Sequence[Any] | None) -> tuple[RouteTerms, int]:
        if row is None:  # deleted
            return RouteTerms(False, self._on, self._may_merge, False, 0, 0, 0, None), 0
        _, enabled, reminds, delay, throttle, burst, begins, ends, zone, spares, told = row
        quiet = None if begins is None else QuietHours(begins, ends, zone, spares)
        return RouteTerms(enabled, self._on, self._may_merge, reminds, delay, throttle, burst, quiet), told

    def _due(self, tenant_id: str, row: Sequence[Any]) -> DueJob:
        job_id, alert_id, route_id, event, occurrence, message_id, reason, receipt, created, tries, attempts = row[:11]
        waited, carrier, status, superseded, severity, past, due_at, inhibited, cause_open, silenced = row[11:21]
        fingerprint, site_id, device_id, tags, matches, told, in_summary, last_told, blocked, opening_id = row[21:]
        terms, told_in_minute = self._terms.get(route_id) or self._terms_of(None)
        case = Case(
            event=JobEvent(event),
            reason=None if reason is None else Reason(reason),
            receipt=Receipt(receipt),
            created_at=created.timestamp(),
            waited=waited,
            carrier=carrier,
            status=status,
            severity=Severity(severity),
            past=past,
            due_at=due_at.timestamp(),
            superseded=superseded,
            inhibited=inhibited,
            cause_open=cause_open,
            silenced_until=None if silenced is None else silenced.timestamp(),
            maintained_until=self._windows.until(tenant_id, site_id, device_id, tags, self._at.settled),
            route=terms,
            matches=matches,
            told=told,
            told_in_summary=in_summary,
            last_told=None if last_told is None else last_told.timestamp(),
            told_in_minute=told_in_minute,
        )
        return DueJob(
            job_id,
            alert_id,
            route_id,
            case.event,
            occurrence,
            message_id,
            opening_id,
            tries,
            attempts,
            fingerprint,
            blocked,
            case,
        )


def pick_parameters(wanted: Wanted, at: Moment) -> dict[str, Any]:
    """Return the parameters of the statements that pick jobs."""
    return {
        "tenant": wanted.tenant_id,
        "integration": wanted.integration_id,
        "busy": list(wanted.busy),
        "limit": wanted.limit,
        "severities": SEVERITIES,
        "route": wanted.route_id,
        "event": None if wanted.event is None else wanted.event.value,
        "gathered": None if wanted.summary is None else GATHERED_BY.get(wanted.summary),
        "alert": wanted.ended,
        "now": moment(at.now),
    }


async def bound_lock_waits(connection: Connection[Any]) -> None:
    """Let no statement of the transaction wait for a row for longer than LOCK_TIMEOUT_MS."""
    await connection.execute(STATEMENTS["bound_lock_waits"], {"milliseconds": LOCK_TIMEOUT_MS})


async def begin_by_key(connection: Connection[Any]) -> None:
    """Do the same, and let the statements of the transaction keep plans that find rows by key."""
    await connection.execute(STATEMENTS["begin_by_key"], {"milliseconds": LOCK_TIMEOUT_MS})


async def begin_claim(connection: Connection[Any], key: int) -> None:
    """Do the same, and take the advisory lock ``key`` until the transaction ends."""
    await connection.execute(STATEMENTS["begin_claim"], {"milliseconds": LOCK_TIMEOUT_MS, "key": key})


def moment(seconds: float) -> datetime:
    """Return a service time as the database takes it."""
    return datetime.fromtimestamp(seconds, UTC)


def worst_first(jobs: Sequence[DueJob]) -> list[DueJob]:
    """Return jobs by the severity of their alerts, of equal ones the newest first."""
    return sorted(jobs, key=lambda job: (SEVERITIES.index(job.case.severity), -job.alert_id))


def ids_of(jobs: Sequence[DueJob]) -> list[int]:
    """Return the ids of jobs."""
    return [job.job_id for job in jobs]
