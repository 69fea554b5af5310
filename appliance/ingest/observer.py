"""Observers of a batch: what is written beside the readings, in their transaction.

The writer knows its observers by this protocol alone. They are handed in by the supervisor in a fixed order, which is
the order of their tables: every transaction takes its locks in it, so that several processes never deadlock. Device
state is the first.

For each try of a batch the writer calls, of every observer in turn:

1. ``load(connection, outcome)``, in the transaction of the try: the only moment at which an observer may read what it
   needs and does not have. Usually that is nothing, and costs no round trip.
2. ``prepare(outcome, now)``, once the readings are in their table and the outcome is known. It returns an ``Effect``,
   or None when there is nothing to write. It is synchronous and starts from the state that the last commit left, so a
   second try of the same batch finds what the first one found. What it derives belongs to the effect, not yet to the
   observer. ``outcome.stored`` holds the readings that are new; they are in order of admission, and sorted by ``index``
   they are in order of arrival (the index goes on from batch to batch).
3. ``Effect.write(connection)``. It only queues statements: the writer sends those of all observers in one round trip,
   so nothing can be read back; what a statement answered is there for ``committed``. Ids therefore come from sequences,
   taken in blocks beforehand by a task of the observer's own, and what depends on a row being new is one statement with
   the insert of that row.
4. Exactly one of ``Effect.committed()``, which makes what was prepared the observer's state, and
   ``Effect.given_back()``, after which the observer is as it was before ``prepare``.

An observer that is :class:`Foreseeing` may work ahead while Postgres stores the readings, which usually are all new: so
Postgres does not wait for it afterwards.

A try fails: its effects are given back, and the next try prepares anew; so do the halves of a batch that is divided,
and a batch whose readings are bisected. A COMMIT whose answer was lost is looked up: the effects are committed if the
mark of the batch is found, given back if not.

A batch with messages asks every observer. When no batch comes, the writer makes one without messages for the observers
that are ``due``, and asks only those; its ``received_at`` is that of the newest committed batch.

Storage of readings is never blocked by an observer. One that raises, whose statements Postgres refuses, or that does
not get a lock within ``LOCK_WAIT_MS`` is left out of the batch (see ``appliance.ingest.retry`` for the order) and is
told so by ``shed``, after the commit. It is asked again with the next batch; if it fails again, only after a rest.
Every batch that was committed without it is shown to it by ``missed``, so that it can make up for it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import psycopg
import structlog

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.db.trio_psycopg import Connection
from appliance.ingest.batch import MICROSECONDS, BatchOutcome, Reading

LOCK_WAIT_MS = 500
"""Milliseconds that a statement of an observer waits for a lock. A person's transaction must not hold up readings."""
FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 60.0
"""Rest of an observer that was shed twice in a row and more often: each try of it costs the stream some time."""

log = structlog.get_logger(__name__)


class Effect(Protocol):
    """What one observer writes with one try of a batch."""

    async def write(self, connection: Connection[Any]) -> None:
        """Queue the statements on a connection in pipeline mode; nothing is read back."""
        ...

    def committed(self) -> None:
        """Take over what was prepared: the transaction was committed."""
        ...

    def given_back(self) -> None:
        """Drop what was prepared: the transaction was not committed."""
        ...


class Observer(Protocol):
    """Writes something beside the readings of each batch. See the module's docstring."""

    @property
    def name(self) -> str:
        """The name for the log, unique among the observers of a writer."""
        ...

    def due(self, now: int) -> bool:
        """Return whether a batch without messages is wanted. ``now``: service time in microseconds since 1970 UTC."""
        ...

    async def load(self, connection: Connection[Any], outcome: BatchOutcome) -> None:
        """Read what ``prepare`` will need of the database, if anything."""
        ...

    def prepare(self, outcome: BatchOutcome, now: int) -> Effect | None:
        """Return what is to be written with this outcome, or None. ``now`` is the service time, as in ``due``."""
        ...

    def shed(self, error: Exception) -> None:
        """Take note that a batch was committed without this observer, because of ``error``."""
        ...

    def missed(self, outcome: BatchOutcome) -> None:
        """Take note of a batch with messages that was committed without this observer."""
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """An observer that works ahead."""

    def foresee(self, readings: Sequence[Reading]) -> None:
        """Work out what ``prepare`` will need, if all ``readings`` become ``stored``: the same sequence, then.

        Called while Postgres stores them, before ``load``. If something else becomes of the try, what was worked out
        counts for nothing; an exception counts for nothing, too, and is raised again by ``prepare``.
        """
        ...


class ObserverError(Exception):
    """An observer failed by itself, not in Postgres; the cause is the exception that it raised."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(f"{name}: {error}")
        self.name = name
        self.error = error


class Effects:
    """The effects of one try, in the order of their observers."""

    __slots__ = ("_prepared", "missed")

    def __init__(self) -> None:
        self._prepared: list[tuple[str, Effect]] = []
        self.missed: list[str] = []
        """The names of the observers that were not asked although they are there."""

    def __bool__(self) -> bool:
        return bool(self._prepared)

    def add(self, name: str, effect: Effect) -> None:
        """Add the effect of the observer ``name``."""
        self._prepared.append((name, effect))

    def names(self) -> tuple[str, ...]:
        """Return the names of the observers that have something to write."""
        return tuple([name for name, _ in self._prepared])

    async def write(self, connection: Connection[Any]) -> None:
        """Queue all of them. Raises ObserverError for what an observer raises, and the errors of the server."""
        for name, effect in self._prepared:
            try:
                await effect.write(connection)
            except Exception as error:
                if isinstance(error, OSError | psycopg.OperationalError) or getattr(error, "sqlstate", None):
                    raise  # of the connection or the server: it may concern any statement queued before
                raise ObserverError(name, error) from error

    def committed(self) -> None:
        """Tell all of them that they were committed."""
        for name, effect in self._prepared:
            try:
                effect.committed()
            except Exception:
                # The readings are committed and must be acknowledged, whatever an observer does.
                log.exception("an observer failed after a commit", observer=name)

    def given_back(self) -> None:
        """Tell all of them, last first, that they were not committed."""
        for name, effect in reversed(self._prepared):
            try:
                effect.given_back()
            except Exception:
                log.exception("an observer failed after a try", observer=name)


class _Seat:
    """An observer and how it has done lately."""

    __slots__ = ("observer", "rest", "resting_until", "shed")

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.rest = Backoff(first=FIRST_REST_SECONDS, maximum=LONGEST_REST_SECONDS)
        self.resting_until = 0.0
        """Monotonic seconds until which it is not asked."""
        self.shed = False
        """Whether the last batch that it had a part in was committed without it."""


class Observers:
    """The observers of a writer, in their fixed order."""

    def __init__(self, observers: Sequence[Observer], clock: Clock) -> None:
        self._seats = {observer.name: _Seat(observer) for observer in observers}
        assert len(self._seats) == len(observers), "observers are told apart by their names"  # noqa: S101
        self._clock = clock

    @property
    def names(self) -> Iterable[str]:
        """The names of all of them, in their order."""
        return self._seats.keys()

    def due(self) -> bool:
        """Return whether any observer wants a batch without messages."""
        now, monotonic = round(self._clock.now() * MICROSECONDS), self._clock.monotonic()
        return any(_due(seat, now) for seat in self._seats.values() if monotonic >= seat.resting_until)

    async def prepare(
        self, connection: Connection[Any], outcome: BatchOutcome, omitted: frozenset[str], effects: Effects
    ) -> None:
        """Ask all but the ``omitted`` and the resting ones, and put their effects into ``effects``.

        Raises ObserverError when one of them fails, and the errors of the connection; the effects prepared so far must
        be given back.
        """
        now, monotonic = round(self._clock.now() * MICROSECONDS), self._clock.monotonic()
        everybody = bool(outcome.batch.messages)
        effects.missed.clear()
        for name, seat in self._seats.items():
            if name in omitted or monotonic < seat.resting_until:
                effects.missed.append(name)
                continue
            if not (everybody or _due(seat, now)):
                continue
            try:
                await seat.observer.load(connection, outcome)
                effect = seat.observer.prepare(outcome, now)
            except Exception as error:
                if isinstance(error, OSError | psycopg.OperationalError) and not _lock_not_had(error):
                    raise  # of the connection, or a matter of the moment: the whole try is made again
                raise ObserverError(name, error) from error
            if effect is not None:
                effects.add(name, effect)

    def foresee(self, omitted: frozenset[str], readings: Sequence[Reading]) -> None:
        """Let those work ahead that can, but the ``omitted`` and the resting ones."""
        monotonic = self._clock.monotonic()
        for name, seat in self._seats.items():
            if isinstance(seat.observer, Foreseeing) and name not in omitted and monotonic >= seat.resting_until:
                try:
                    seat.observer.foresee(readings)
                except Exception as error:  # noqa: BLE001 - raised again in ``prepare``, whose failure is recorded
                    log.debug("an observer cannot work ahead", observer=name, error=str(error))

    def suspects(self) -> frozenset[str]:
        """Return the names of those that the last batch was committed without."""
        return frozenset([name for name, seat in self._seats.items() if seat.shed])

    def committed(self, effects: Effects, outcome: BatchOutcome) -> None:
        """Tell the observers that their effects were committed, and those that were not asked what they missed."""
        effects.committed()
        if outcome.batch.messages:
            for name in effects.missed:
                try:
                    self._seats[name].observer.missed(outcome)
                except Exception:
                    log.exception("an observer failed after it was left out", observer=name)
        for name in effects.names():
            seat = self._seats[name]
            if seat.shed:
                seat.shed = False
                seat.rest.reset()
                log.info("an observer writes again", observer=name)

    def shed(self, names: Iterable[str], error: Exception) -> None:
        """Tell the observers ``names`` that a batch was committed without them, because of ``error``."""
        for name in names:
            seat = self._seats[name]
            if seat.shed:
                seat.resting_until = self._clock.monotonic() + seat.rest.next()
            else:
                seat.shed = True
                log.error("an observer was left out of a batch", observer=name, error=str(error).strip())
            try:
                seat.observer.shed(error)
            except Exception:
                log.exception("an observer failed after it was left out", observer=name)


def _lock_not_had(error: Exception) -> bool:
    return isinstance(error, psycopg.errors.LockNotAvailable)


def _due(seat: _Seat, now: int) -> bool:
    try:
        return seat.observer.due(now)
    except Exception as error:  # noqa: BLE001 - asked again in ``prepare``, whose failure is recorded
        log.debug("an observer cannot say whether it is due", observer=seat.observer.name, error=str(error))
        return True
