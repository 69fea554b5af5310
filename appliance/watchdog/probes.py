"""The probe: an observer of batches that writes it, and what the outbox calls to take it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.alerts.kinds.kind import REST, Event, KindName, Newest, Sample
from appliance.alerts.kinds.table import KINDS
from appliance.clock import Clock
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.ingest.batch import MICROSECONDS, BatchOutcome
from appliance.watchdog.proof import Proof

STATEMENTS = statements.load("watchdog")

PROBES_AN_INTERVAL = 4
"""So that a proof is never as old as an interval, although the broker is tried only every ten seconds."""
MOST_ROWS = 32
"""Rows of an appliance that wait for its outbox; while there are as many, no other is written."""
FORGOTTEN_AFTER = timedelta(days=1)
"""Age of a row at which any appliance removes it: the one that wrote it has gone for good."""

METRIC = "probe"
RULE = KINDS[KindName.THRESHOLD]
PARAMETERS = RULE.parse({"metric": METRIC, "operator": "GT", "value": 0})


class ProbeObserver:
    """Judges one reading and writes one row, PROBES_AN_INTERVAL times an interval."""

    name = "watchdog"

    def __init__(self, proof: Proof, instance: str, clock: Clock) -> None:
        self._proof = proof
        self._instance = instance
        self._clock = clock
        self._written_at = float("-inf")

    def due(self, now: int) -> bool:  # noqa: ARG002 - by the monotonic clock, which no step of the time holds up
        """Return whether it is time for a probe."""
        return self._clock.monotonic() - self._written_at >= self._proof.interval / PROBES_AN_INTERVAL

    async def load(self, connection: Connection[Any], outcome: BatchOutcome) -> None:
        """Do nothing: a probe needs nothing of the database."""

    def prepare(self, outcome: BatchOutcome, now: int) -> "ProbeWrite | None":  # noqa: ARG002 - no reading matters
        """Return the next probe, if it is time for one."""
        if not self.due(now):
            return None
        return ProbeWrite(self, self._instance, now, self._proof.heard_at, right=opens(now))

    def shed(self, error: Exception) -> None:
        """Do nothing: what was not written is not proven."""

    def missed(self, outcome: BatchOutcome) -> None:
        """Do nothing: no reading matters."""

    def committed(self, number: int, heard_at: float | None, *, right: bool) -> None:
        """Take note that a probe was committed."""
        self._written_at = self._clock.monotonic()
        self._proof.committed(number, heard_at, right=right)


class ProbeWrite:
    """The probe that one try of a batch writes."""

    __slots__ = ("_heard_at", "_instance", "_number", "_observer", "_right")

    def __init__(
        self, observer: ProbeObserver, instance: str, number: int, heard_at: float | None, *, right: bool
    ) -> None:
        self._observer = observer
        self._instance = instance
        self._number = number
        self._heard_at = heard_at
        self._right = right

    async def write(self, connection: Connection[Any]) -> None:
        """Queue the statement, which wakes the outbox, too."""
        now = datetime.fromtimestamp(self._number / MICROSECONDS, UTC)
        parameters = {"instance": self._instance, "number": self._number, "now": now, "most": MOST_ROWS}
        await connection.execute(STATEMENTS["write_probe"], parameters)

    def committed(self) -> None:
        """Tell the observer."""
        self._observer.committed(self._number, self._heard_at, right=self._right)

    def given_back(self) -> None:
        """Do nothing: the observer does not know of it yet."""


class ProbeTaker:
    """Takes probes out of the outbox, for its dispatcher."""

    def __init__(self, proof: Proof, instance: str, clock: Clock) -> None:
        self._proof = proof
        self._instance = instance
        self._clock = clock

    async def __call__(self, connection: Connection[Any]) -> None:
        """Take this appliance's probes, if there are any. Raises psycopg.Error and OSError."""
        if not self._proof.awaited:
            return
        before = datetime.fromtimestamp(self._clock.settled(), UTC) - FORGOTTEN_AFTER
        cursor = await connection.execute(STATEMENTS["take_probes"], {"instance": self._instance, "before": before})
        rows: Sequence[tuple[str, int]] = await cursor.fetchall()
        self._proof.taken([number for instance, number in rows if instance == self._instance])


def opens(ts: int) -> bool:
    """Return whether the step of a threshold opens an alert for a reading past its limit."""
    step = RULE.step
    return (
        step is not None and step(PARAMETERS, REST, Sample(ts, {METRIC: 1}, _none, _none), None).event is Event.OPENED
    )


def _none(_metric: str) -> Newest | None:
    return None
