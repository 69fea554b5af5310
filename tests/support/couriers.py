"""Couriers over a real database, with senders that a test plays."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import trio

from appliance.alerts.alert import ALERTS_CHANNEL
from appliance.clock import Clock
from appliance.db.changes import Changes
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import Connection, connect
from appliance.delivery.integrations.integration import ROUTES_CHANNEL
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.claims import Claims
from appliance.delivery.outbox.courier import Equipment
from appliance.delivery.outbox.dispatcher import Dispatcher, TakeProbe
from appliance.delivery.outbox.job import DELIVERIES_CHANNEL
from appliance.delivery.outbox.settling import Settling
from appliance.delivery.outgoing.network import Destination, Network
from appliance.delivery.senders.sender import Field, Outcome, Sender, Target, Verdict
from appliance.keyring import Keyring, new_key
from appliance.metrics import Metrics
from tests.support.clock import TrustedClock
from tests.support.postgres_server import Database

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC).timestamp()
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.01
LEASE_SECONDS = 30.0
SEND_SECONDS = 20.0

DELIVERED = Outcome(Verdict.DELIVERED, 0.01, status=200)
UNREACHED = Outcome(Verdict.UNREACHED, 0.01, error="No connection.")
BROKEN = Outcome(Verdict.RETRY, 0.01, status=500, answer=b"oops")
REFUSED = Outcome(Verdict.REFUSED, 0.01, status=400)
GONE = Outcome(Verdict.GONE, 0.01, status=410)
TIMED_OUT = Outcome(Verdict.RETRY, 0.01, may_have_arrived=True, error="No answer.")

Answer = Callable[[Target, Notice], Awaitable[Outcome]]


class SetClock(TrustedClock):
    """A clock that a test sets."""

    def __init__(self, at: float = NOON) -> None:
        self.at = at

    def now(self) -> float:
        """Return the service time."""
        return self.at

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return trio.current_time()


async def deliver_all(_target: Target, _notice: Notice) -> Outcome:
    """Answer as a receiver does that takes everything."""
    return DELIVERED


@dataclass
class PlayedSender:
    """A sender of a type that a test plays: what it is given is noted, and ``answer`` says how it goes."""

    answer: Answer = deliver_all
    type: str = "webhook"
    may_merge: bool = True
    label: str = "Played"
    icon: str = "played"
    fields: Sequence[Field] = ()
    sent: list[Notice] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    at_a_time: int = 0
    most_at_a_time: int = 0

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:  # noqa: ARG002
        """Return the configuration."""
        return dict(config)

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:  # noqa: ARG002
        """Return nothing: nobody is dialled."""
        return ()

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:  # noqa: ARG002
        """Note the notice, and answer as the test says."""
        self.sent.append(notice)
        self.targets.append(target)
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            return await self.answer(target, notice)
        finally:
            self.at_a_time -= 1

    def told(self) -> list[tuple[str, int]]:
        """Return what was sent, in order: event and alert."""
        return [(notice.event.value, notice.alert.alert_id) for notice in self.sent]


def answering(*outcomes: Outcome) -> Answer:
    """Return an answer that gives the outcomes in turn, the last one for ever."""
    left = list(outcomes)

    async def answer(_target: Target, _notice: Notice) -> Outcome:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


@dataclass
class PlayedWindows:
    """Maintenance windows that a test plays: an end for every alert. A change counts once it was read."""

    ends: float | None = None
    read: float | None = None

    async def refresh(self) -> None:
        """Read what has changed."""
        self.read = self.ends

    def until(self, *_asked: object) -> float | None:
        """Return until when a window covers every alert."""
        return self.read


async def no_probe(_connection: Connection[Any]) -> None:
    """Take nothing: there is no watchdog."""


@dataclass
class Couriers:
    """Running couriers."""

    database: Database
    clock: Clock
    dispatcher: Dispatcher
    metrics: Metrics
    scope: trio.CancelScope

    async def rest(self) -> None:
        """Return once nothing is due and nothing under way: what could be done at this time of the clock is done."""
        now = datetime.fromtimestamp(self.clock.now(), UTC)
        statement = """
            SELECT count(*) FROM delivery_jobs AS j
            LEFT JOIN integration_health AS h USING (tenant_id, integration_id)
            WHERE j.status = 'PROCESSING'
              OR j.status = 'PENDING' AND greatest(j.next_run_at, h.next_probe_at) <= %s
                AND j.reason IS DISTINCT FROM 'waiting'"""
        looks = self.dispatcher.looks + 2  # one may be under way that has not seen what was done just now
        self.dispatcher.missed()
        with psycopg.connect(self.database.conninfo(), autocommit=True) as connection:
            with trio.fail_after(PATIENCE_SECONDS):
                while (
                    self.dispatcher.looks < looks
                    or not self.dispatcher.up_to_date
                    or self.dispatcher.at_work
                    or connection.execute(statement, [now]).fetchone() != (0,)
                ):
                    self.dispatcher.wake()
                    await trio.sleep(POLL_SECONDS)

    async def pass_time(self, seconds: float) -> None:
        """Set the clock forward, and return once what is due by then is done."""
        cast("SetClock", self.clock).at += seconds
        await self.rest()


@asynccontextmanager
async def open_couriers(
    database: Database,
    *senders: PlayedSender,
    clock: Clock | None = None,
    instance: str = "one",
    keyring: Keyring | None = None,
    windows: PlayedWindows | None = None,
    failpoint: Callable[[str], None] = lambda _name: None,
    send_seconds: float = SEND_SECONDS,
    lease_seconds: float = LEASE_SECONDS,
    take_probe: TakeProbe = no_probe,
) -> AsyncIterator[Couriers]:
    """Run couriers with the senders, by type; stopped at the end of the block as the appliance stops them."""
    clock = clock or SetClock()
    by_type = {sender.type: sender for sender in senders}
    metrics = Metrics()

    def may_merge(kind: str) -> bool:
        return kind in by_type and by_type[kind].may_merge

    async with (
        open_pool(database.conninfo(INGEST), name="couriers", min_size=1, max_size=6) as pool,
        trio.open_nursery() as nursery,
    ):
        keyring = keyring or Keyring([new_key()])
        links = AcknowledgeLinks(keyring)
        equipment = Equipment(
            instance=instance,
            claims=Claims(pool, instance, clock, windows or PlayedWindows(), may_merge, links, lease_seconds),
            settling=Settling(pool, instance, clock, lambda: 0.0),
            senders=cast("Mapping[str, Sender]", by_type),
            network=cast("Network", None),
            keyring=keyring,
            clock=clock,
            metrics=metrics,
            failpoint=failpoint,
            page="https://edge.example{}".format,
            send_seconds=send_seconds,
        )
        dispatcher = Dispatcher(pool, equipment, take_probe)
        changes = Changes(
            lambda: connect(database.conninfo(INGEST)), (DELIVERIES_CHANNEL, ROUTES_CHANNEL, ALERTS_CHANNEL)
        )
        changes.subscribe(DELIVERIES_CHANNEL, dispatcher.wake, dispatcher.missed)
        changes.subscribe(ALERTS_CHANNEL, dispatcher.alerts_changed, dispatcher.missed)
        changes.subscribe(ROUTES_CHANNEL, dispatcher.routes_changed, dispatcher.missed)
        await nursery.start(changes.run)
        await nursery.start(dispatcher.run)
        yield Couriers(database, clock, dispatcher, metrics, nursery.cancel_scope)
        nursery.cancel_scope.cancel()


def rows(database: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query, or nothing for a command."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def states(database: Database, alert_ids: Collection[int] | None = None) -> list[tuple[int, str, str, str | None]]:
    """Return alert, event, status and reason of the jobs, by alert and in the order in which they were written."""
    query = "SELECT alert_id, event, status, reason FROM delivery_jobs ORDER BY alert_id, job_id"
    return [row for row in rows(database, query) if alert_ids is None or row[0] in alert_ids]


def close(database: Database, alert_id: int, at: float, reason: str = "cleared") -> None:
    """Close an alert, as its condition does, or the next warning that takes its place."""
    moment = datetime.fromtimestamp(at, UTC)
    rows(
        database,
        "WITH closed AS (UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, close_reason = %s,"
        " past = due_at > %s AND status = 'OPEN' WHERE id = %s RETURNING tenant_id, id)"
        " INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT tenant_id, id, %s, 'closed' FROM closed",
        moment,
        reason,
        moment,
        alert_id,
        moment,
    )


def acknowledge(database: Database, alert_id: int, at: float) -> None:
    """Acknowledge an alert."""
    moment = datetime.fromtimestamp(at, UTC)
    rows(
        database,
        "WITH changed AS (UPDATE fleet_alert SET status = 'ACKNOWLEDGED', acknowledged_at = %s,"
        " acknowledged_by = 'somebody@acme.example' WHERE id = %s RETURNING tenant_id, id)"
        " INSERT INTO alert_events (tenant_id, alert_id, at, kind)"
        " SELECT tenant_id, id, %s, 'acknowledged' FROM changed",
        moment,
        alert_id,
        moment,
    )


def undo(database: Database, alert_id: int, at: float) -> None:
    """Take an acknowledgement back."""
    moment = datetime.fromtimestamp(at, UTC)
    rows(
        database,
        "WITH changed AS (UPDATE fleet_alert SET status = 'OPEN', acknowledged_at = NULL, acknowledged_by = NULL"
        " WHERE id = %s RETURNING tenant_id, id) INSERT INTO alert_events (tenant_id, alert_id, at, kind)"
        " SELECT tenant_id, id, %s, 'unacknowledged' FROM changed",
        alert_id,
        moment,
    )


def unsilence(database: Database, alert_id: int, at: float) -> None:
    """Take a silence back."""
    rows(
        database,
        "WITH changed AS (UPDATE fleet_alert SET silenced_until = NULL WHERE id = %s RETURNING tenant_id, id)"
        " INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT tenant_id, id, %s, 'unsilenced' FROM changed",
        alert_id,
        datetime.fromtimestamp(at, UTC),
    )
