"""Device state as an observer of batches: what changed is written once in a while, inside the transaction of a batch.

It meets the protocol of ``appliance.ingest.observer`` by its shape alone: this package knows nothing of ingest. States
move after a commit (``DeviceState.accept``), so what is written with a batch is what the batches before it left.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import structlog

from appliance.db.trio_psycopg import Connection
from appliance.devices.live.state import DeviceState
from appliance.devices.live.state_book import StateBook

WRITE_INTERVAL = 1.0
"""Seconds between two writes of what changed."""

NoteAllowances = Callable[[Iterable[DeviceState]], int]
"""Brings the allowances of states up to date, and returns the latest time at which one can be full (microseconds since
1970 UTC): :meth:`appliance.ingest.limits.allowances.AllowanceNotes.note`."""

log = structlog.get_logger(__name__)


class ReceivedBatch(Protocol):
    """A batch of messages: :class:`appliance.ingest.batch.Batch`."""

    @property
    def received_at(self) -> int:
        """When it was received, in microseconds since 1970 UTC."""
        ...


class ReceivedOutcome(Protocol):
    """What became of a batch: :class:`appliance.ingest.batch.BatchOutcome`."""

    @property
    def batch(self) -> ReceivedBatch:
        """The batch itself."""
        ...


class DeviceStateObserver:
    """Writes the states of ``states`` that changed, every ``write_interval`` seconds."""

    name = "device state"

    def __init__(
        self, states: StateBook, instance: str, write_interval: float, note_allowances: NoteAllowances
    ) -> None:
        self._states = states
        self._note_allowances = note_allowances
        self._instance = instance
        self._interval = write_interval * 1_000_000
        self._written_at = 0

    def due(self, now: int) -> bool:
        """Return whether a state changed and the interval has passed since the last write."""
        return self._interval_passed(now) and bool(self._states.changed())

    def prepare(self, outcome: ReceivedOutcome, now: int) -> "StateWrite | None":
        """Take what changed, if the interval has passed."""
        if not self._interval_passed(now):
            return None
        changed = self._states.take_changed()
        if not changed:
            return None
        written = partial(self._written, now)
        latest = self._note_allowances(changed)
        return StateWrite(self._states, changed, self._instance, outcome.batch.received_at, latest, written)

    async def load(self, connection: Connection[Any], outcome: ReceivedOutcome) -> None:
        """Do nothing: the states are in memory."""

    def missed(self, outcome: ReceivedOutcome) -> None:
        """Do nothing: the states move after the commit, whoever wrote with it."""

    def shed(self, error: Exception) -> None:
        """Do nothing more: what was given back is written with a later batch."""
        log.debug("device states wait for a later batch", error=str(error).strip())

    def _interval_passed(self, now: int) -> bool:
        """Return whether it is time for a write; a wall clock that was set back makes it time, too."""
        return not 0 <= now - self._written_at < self._interval

    def _written(self, now: int) -> None:
        self._written_at = now


class StateWrite:
    """The states that one try of a batch writes."""

    __slots__ = ("_book", "_changed", "_instance", "_latest_allowance", "_on_written", "_received_at")

    def __init__(
        self,
        book: StateBook,
        changed: Sequence[DeviceState],
        instance: str,
        received_at: int,
        latest_allowance: int,
        on_written: Callable[[], None],
    ) -> None:
        self._book = book
        self._changed = changed
        self._instance = instance
        self._received_at = received_at
        self._latest_allowance = latest_allowance
        self._on_written = on_written

    async def write(self, connection: Connection[Any]) -> None:
        """Queue the statement."""
        statement = self._book.upsert(self._changed, self._instance, self._received_at, self._latest_allowance)
        await connection.execute(*statement)

    def committed(self) -> None:
        """Note that the states are written."""
        self._book.written()
        self._on_written()

    def given_back(self) -> None:
        """Leave the states to a later write."""
        self._book.give_back()
