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
``CommitOutcomeUnknown`` is raised.

Not supported: ``AsyncQueuedLibpqWriter`` (it starts asyncio tasks). A ``Cursor.stream()`` left early while its task is
cancelled leaves an ACTIVE connection, which must be closed.
"""

from appliance.db.trio_psycopg.connection import Connection, connect
from appliance.db.trio_psycopg.wire import GRACE_SECONDS, CommitOutcomeUnknown

__all__ = ["GRACE_SECONDS", "CommitOutcomeUnknown", "Connection", "connect"]
