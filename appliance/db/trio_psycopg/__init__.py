"""psycopg 3 on Trio: ``psycopg.AsyncConnection`` with its asyncio places replaced, cancellation included.

psycopg writes its protocol as generators that yield "wait until the socket is readable/writable" and leave the waiting
to the connection class. Here Trio waits. Everything else - cursors, adapters, row factories, COPY, pipelines, prepared
statements - is psycopg's own, and so is its documentation. This package imports nothing but psycopg and Trio.

**Cancellation.** A task that is cancelled while it waits for the server must not leave the connection in the middle of
a statement. So the server is asked to cancel and its answer is read, shielded, for at most ``GRACE_SECONDS``; then
``Cancelled`` goes on. Rollback, the end of a COPY and the end of a pipeline run under the same shield. Whatever was
interrupted, the connection afterwards is either between two statements (``IDLE`` once its transaction block is left)
or closed.

**COMMIT** is never cancelled on the server: it is given the grace to finish. If it did, the block ends normally
(Trio delivers the cancellation at the next checkpoint); if its outcome cannot be known, the connection is closed and
``CommitOutcomeUnknown`` is raised. On a connection that is closed already nothing is sent, which is an ordinary
``OperationalError``.

**Leaving early.** ``stream()``, a COPY, ``notifies()`` and any generator around them may be left at any point: by
``break``, by an error, by cancellation, by the garbage collector. The lock of a connection belongs to a block and not
to a task, since a dropped generator is closed by a task of Trio's own, and whoever gives the lock back leaves no
statement under way: a short rest of a result is read, a long one cancelled, which fails the transaction around it as
any cancelled statement does. Until a dropped stream is closed, other statements wait for it; a task that waits for a
stream which it still holds gets ``ProgrammingError``. ``contextlib.aclosing`` gives the connection back at a known
point. A stream whose wait was cancelled cannot be read on, and raises ``OperationalError`` in place of ending there.
While a notification is being handled the connection is free.

**Closing** is possible at any time, from any task. Whoever uses the connection then gets ``OperationalError``: no
stream, COPY or cursor ends as if it had been read to its end.

psycopg's own cursor classes may be used as well (``AsyncClientCursor``, ``AsyncRawCursor``). Not supported:
``AsyncQueuedLibpqWriter`` (it starts asyncio tasks).
"""

from appliance.db.trio_psycopg.connection import Connection, connect
from appliance.db.trio_psycopg.wire import GRACE_SECONDS, CommitOutcomeUnknown

__all__ = ["GRACE_SECONDS", "CommitOutcomeUnknown", "Connection", "connect"]
