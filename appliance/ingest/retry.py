"""How a batch is tried again: from what went wrong to the next try. Pure; the writer waits and writes.

The readings come first. A duplicate among them leads to the staging table, a row that Postgres refuses to bisection,
and a missing partition to a new one. What remains after that is refused beside the readings, and is shed in this order:

1. The same again, for it may have been a matter of the moment.
2. Without the rows of quarantine. Their counters stay exact.
3. Without one observer, the last first.
4. Without any of them.
5. No further: a person is needed, for the ledger cannot be left out.

Each of the steps 2 and 3 leaves out one thing only, so that nothing is lost that was not at fault. An observer that the
batch before was committed without is the first to be left out.

Two failures shed observers alone, without the same again, since rows of quarantine are messages that somebody may want
to replay. A lock that was not had in time: nothing else in the transaction has a limit on its wait. A statement that
this program should not have sent (SQLSTATE class 42 and the unknown): if it is none of an observer's, the schema is not
ours, and a person is needed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from appliance.db.sqlstate import Failure
from appliance.ingest.telemetry.store import StorePath

SAME_AGAIN = 3
"""Tries with nothing left out, before anything is."""
LEAST_TRIES = 8
"""Tries of what stands beside the readings, before a person is needed: no PUBACK can leave then."""


@dataclass(frozen=True, slots=True)
class Omission:
    """What a try leaves out beside the readings."""

    quarantine_rows: bool = False
    observers: frozenset[str] = frozenset()


NOTHING = Omission()


@dataclass(frozen=True, slots=True)
class Beside:
    """What stood beside the readings in a try that failed."""

    quarantine_rows: bool
    observers: tuple[str, ...]
    """Those with something to write, in their order."""
    suspects: frozenset[str]
    """Those that the batch before was committed without."""


class NextTry(Enum):
    """When and how to try again."""

    AT_ONCE = auto()
    AFTER_A_WAIT = auto()
    IN_HALVES = auto()
    NEVER = auto()
    """A person is needed."""


def steps_when_refused(beside: Beside, all_observers: frozenset[str]) -> Iterator[Omission]:
    """Yield what each further try leaves out, after Postgres refused something beside the readings.

    ``all_observers`` are those of the writer: one that had nothing to write before may have in a later try.
    """
    suspects = beside.suspects.intersection(beside.observers)
    steps = [Omission(observers=suspects)] if suspects else []
    steps += [NOTHING] * SAME_AGAIN
    if beside.quarantine_rows:
        steps.append(Omission(quarantine_rows=True))
    steps += steps_without_observers(beside, all_observers)
    steps.append(Omission(quarantine_rows=True, observers=all_observers))
    yield from steps
    for _ in range(LEAST_TRIES - len(steps)):
        yield steps[-1]


def steps_without_observers(beside: Beside, all_observers: frozenset[str]) -> Iterator[Omission]:
    """Yield what each further try leaves out when only observers are: one after another, then all of them."""
    last_first = beside.observers[::-1]
    for name in sorted(last_first, key=lambda name: name not in beside.suspects):
        yield Omission(observers=frozenset({name}))
    if beside.observers and len(all_observers) > 1:
        yield Omission(observers=all_observers)


class RetryPlan:
    """The tries of one batch: by which path the next one stores readings, and what it leaves out."""

    def __init__(self, observers: Iterable[str]) -> None:
        """``observers`` are the names of all that the writer has."""
        self.path = StorePath.DIRECT
        self.error: Exception | None = None
        """What Postgres, or an observer, last refused beside the readings."""
        self._failed: frozenset[str] = frozenset()
        """Observers that failed by themselves."""
        self._step = NOTHING
        self._all_observers = frozenset(observers)
        self._refused_steps: Iterator[Omission] | None = None
        self._observer_steps: Iterator[Omission] | None = None
        self._partition_made = False

    @property
    def omission(self) -> Omission:
        """What the next try leaves out."""
        return Omission(self._step.quarantine_rows, self._failed | self._step.observers)

    def without(self, observer: str, error: Exception) -> None:
        """Leave an observer that failed by itself out of all further tries."""
        self.error = error
        self._failed |= {observer}

    def after_lock_timeout(self, beside: Beside, error: Exception) -> NextTry:
        """Decide what follows when a lock was not had in time."""
        # Not an observer's lock: somebody has set a timeout for all that we do.
        return NextTry.AT_ONCE if self._leave_out_observers(beside, error) else NextTry.AFTER_A_WAIT

    def after(self, failure: Failure, beside: Beside, error: Exception) -> NextTry:
        """Decide what follows a failure of the database."""
        if failure is Failure.UNIQUE and self.path is StorePath.DIRECT:
            self.path = StorePath.STAGED
            return NextTry.AT_ONCE
        if failure is Failure.POISON and self.path is not StorePath.BISECTED:
            self.path = StorePath.BISECTED
            return NextTry.AT_ONCE
        if failure is Failure.NO_PARTITION and not self._partition_made:
            self._partition_made = True
            return NextTry.AT_ONCE
        if failure is Failure.RESOURCES:
            return NextTry.IN_HALVES
        if failure is Failure.RETRY:
            return NextTry.AFTER_A_WAIT
        if failure is Failure.STOP:
            return NextTry.AT_ONCE if self._leave_out_observers(beside, error) else NextTry.NEVER
        return self._after_refusal(beside, error)

    def _leave_out_observers(self, beside: Beside, error: Exception) -> bool:
        """Leave out other observers in the next try; return False when there is nothing to leave out any more."""
        if not beside.observers:
            return False
        if self._observer_steps is None:
            self._observer_steps = steps_without_observers(beside, self._all_observers)
        step = next(self._observer_steps, None)
        if step is None:
            return False
        self.error, self._step = error, step
        return True

    def _after_refusal(self, beside: Beside, error: Exception) -> NextTry:
        if self._refused_steps is None:
            self._refused_steps = steps_when_refused(beside, self._all_observers)
        step = next(self._refused_steps, None)
        if step is None:
            return NextTry.NEVER
        self.error, self._step = error, step
        return NextTry.AFTER_A_WAIT
