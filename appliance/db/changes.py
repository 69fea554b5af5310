"""Notifications of changes: one connection that listens, and every cache that is told.

Enters: the notifications of Postgres (LISTEN). Leaves: calls of the functions that subscribed. A notification that was
sent while the connection was lost is gone, so after a loss every subscriber is made to forget what it knows.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import psycopg
import structlog
import trio
from psycopg import Notify, sql

from appliance.backoff import Backoff
from appliance.db.trio_psycopg import Connection
from appliance.runtime.activity import activity

Connect = Callable[[], Awaitable[Connection[Any]]]
Changed = Callable[[str], None]
"""Takes the payload of a notification; must not block."""
Forget = Callable[[], None]
"""Is called when notifications may have been missed; must not block."""

log = structlog.get_logger(__name__)


class Changes:
    """Follows ``channels`` over one connection and tells every subscriber of a channel, in the order of subscription.

    The channels are named at the start, so that a cache may subscribe at any time: one that subscribes while
    :meth:`run` is serving misses nothing that is committed after its call.
    """

    def __init__(self, open_connection: Connect, channels: Iterable[str], *, backoff: Backoff | None = None) -> None:
        """``open_connection`` opens a connection in autocommit that belongs to this object alone."""
        self._open_connection = open_connection
        self._channels = tuple(channels)
        self._backoff = backoff
        self._changed: dict[str, list[Changed]] = defaultdict(list)
        self._forget: list[Forget] = []

    def subscribe(self, channel: str, changed: Changed, forget: Forget) -> None:
        """Call ``changed`` with each notification of ``channel``, and ``forget`` after a lost connection.

        Raises ValueError for a channel that is not followed.
        """
        if channel not in self._channels:
            raise ValueError(f"the channel {channel} is not followed")
        self._changed[channel].append(changed)
        self._forget.append(forget)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the channels for ever; ``started()`` is called once the first LISTEN holds."""
        activity().doing("waits for a change of the database")
        await listen(
            self._open_connection,
            self._channels,
            self._on_notification,
            self._on_lost,
            backoff=self._backoff,
            task_status=task_status,
        )

    def _on_notification(self, notification: Notify) -> None:
        for changed in self._changed[notification.channel]:
            changed(notification.payload)

    def _on_lost(self) -> None:
        for forget in self._forget:
            forget()


async def listen(
    connect: Connect,
    channels: Sequence[str],
    on_notification: Callable[[Notify], None],
    on_lost: Callable[[], None],
    *,
    backoff: Backoff | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on ``channels`` for ever, over a connection of its own from ``connect`` (autocommit).

    For :class:`Changes`, and for a service whose listening connection also has another purpose.

    ``started()`` is called once the first LISTEN holds: what is read from the database after that is followed by
    every later notification. A lost connection is opened again with growing delays, and then ``on_lost`` is called,
    after the new LISTEN holds: read again what the notifications were about. Both functions are called in this task
    and must not block.
    """
    delays = backoff or Backoff(first=0.05, maximum=5.0)
    first = True
    while True:
        try:
            async with await connect() as connection:
                for channel in channels:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                delays.reset()
                if first:
                    task_status.started()
                else:
                    log.info("listening again", channels=list(channels))
                    on_lost()
                first = False
                async with aclosing(connection.notifies()) as notifications:
                    async for notification in notifications:
                        on_notification(notification)
        except psycopg.OperationalError as error:
            log.warning("not listening", channels=list(channels), error=str(error).strip())
            await trio.sleep(delays.next())
