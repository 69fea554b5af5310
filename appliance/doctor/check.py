"""What a check is: a name, the promise that it holds, how it looks and how it judges."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from appliance.children.data_dir import RunFile
from appliance.config import Config
from appliance.db.trio_psycopg import Connection
from appliance.service_clock.clock import ServiceClock

T = TypeVar("T")


class Status(StrEnum):
    """The result of a check; the words stand in the JSON."""

    OK = "ok"
    ADVICE = "advice"
    BROKEN = "broken"
    UNSEEN = "unseen"


class UnseenError(Exception):
    """Something cannot be looked at; the text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or soon will be."""

    status: Status
    text: str
    advice: str
    """What to do about it."""


def broken(text: str, advice: str) -> Finding:
    """Return a finding of a promise that does not hold."""
    return Finding(Status.BROKEN, text, advice)


def advised(text: str, advice: str) -> Finding:
    """Return a finding of something that still holds."""
    return Finding(Status.ADVICE, text, advice)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a check may look at."""

    config: Config
    clock: ServiceClock
    run: RunFile | None
    """The addresses of the appliance that runs on ``data_dir``; None: none is ready there."""
    connection: Connection[Any] | None
    """A session that can only read, of a role that sees all tenants."""
    absence: str
    """Why there is no connection."""
    should_answer: bool
    """Whether there should be a connection: the database is external, or an appliance runs."""

    @property
    def database(self) -> Connection[Any]:
        """Return the connection. Raises UnseenError when there is none."""
        if self.connection is None:
            raise UnseenError("there is no connection: see database")
        return self.connection


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """One line of the table."""

    name: str
    """Stable: scripts know it."""
    promise: str
    """What holds when it is ok, in one sentence, with the number of the promise where it has one."""
    look: Callable[[Sight], Awaitable[T]]
    """Reads. Raises UnseenError with the reason when it cannot."""
    judge: Callable[[T], Iterable[Finding]]
    """Pure."""
    mend: str | None = None
    """The name of its mend in ``mends.MENDS``; None: only people can."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a check."""

    name: str
    promise: str
    status: Status
    findings: tuple[Finding, ...] = ()
    reason: str | None = None
    """Why it is unseen."""
    mend: str | None = None
