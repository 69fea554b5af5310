"""The action for a database error, by its SQLSTATE: Python's exception classes mix cases that need other actions."""

from enum import Enum, auto

import psycopg


class Failure(Enum):
    """The action that an error requires of the writer."""

    UNIQUE = auto()
    """23505: the row exists already. For telemetry: try again through the staging table."""
    NO_PARTITION = auto()
    """23514 without a constraint: no partition for the row's day. Create it, then try again."""
    RETRY = auto()
    """The server, the connection, or another transaction. Try the same again after a while."""
    RESOURCES = auto()
    """Memory, disk or connections have run out. Raise an alert, try again with less."""
    POISON = auto()
    """The data: these rows will never be accepted. Find them and set them aside."""
    STOP = auto()
    """The program or its rights: trying again is useless. Stop and raise an alert."""


# Classes (two characters) and single states; a state rules over its class.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
FAILURES: dict[str, Failure] = {
    "08": Failure.RETRY,  # connection exception
    "22": Failure.POISON,  # data exception
    "23": Failure.POISON,  # integrity constraint violation
    "23505": Failure.UNIQUE,
    "25006": Failure.RETRY,  # read-only transaction: this server was the primary until a moment ago
    "25P03": Failure.RETRY,  # the session idled in a transaction for too long and was ended
    "26": Failure.RETRY,  # unknown prepared statement: a pooler gave us another session
    "40": Failure.RETRY,  # transaction rollback: deadlock, serialization failure
    "53": Failure.RESOURCES,  # insufficient resources
    "54": Failure.POISON,  # program limit exceeded: deep JSON arrives as this
    "55P03": Failure.RETRY,  # lock not available within lock_timeout
    "57": Failure.RETRY,  # operator intervention: shutdown, crash of another backend, cancelled by a timeout
    "58": Failure.RESOURCES,  # system error: I/O error, disk quota
}

CHECK_VIOLATION = "23514"


def classify_state(sqlstate: str, constraint: str | None = None) -> Failure:
    """Return the action for an error of the server with this SQLSTATE; ``constraint`` is the one it names, if any.

    Unknown states are STOP, since retrying would not help.
    """
    if sqlstate == CHECK_VIOLATION and constraint is None:
        return Failure.NO_PARTITION  # a violated CHECK names its constraint; the message itself may be translated
    return FAILURES.get(sqlstate) or FAILURES.get(sqlstate[:2]) or Failure.STOP


def classify(error: psycopg.Error) -> Failure:
    """Return the action for ``error``, also if it never reached the server."""
    if error.sqlstate is not None:
        return classify_state(error.sqlstate, error.diag.constraint_name)
    if isinstance(error, psycopg.OperationalError):
        return Failure.RETRY  # the connection was lost, or none could be had
    if isinstance(error, psycopg.DataError):
        return Failure.POISON  # psycopg itself could not put the value into Postgres' form
    return Failure.STOP
