"""LISTEN: a service that hands on notifications and says when some may have been missed."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import psycopg
import structlog
import trio
from psycopg import Notify, sql

from appliance.backoff import Backoff
from appliance.db.trio_psycopg import Connection

Connect = Callable[[], Awaitable[Connection[Any]]]

log = structlog.get_logger(__name__)


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

    ``started()`` is called once the first LISTEN holds: what is read from the database after that is followed by
    every later notification. When the connection is lost it comes back with growing delays, and then ``on_lost`` is
    called, after the new LISTEN holds: read again what the notifications were about. Both functions are called in
    this task and must not block.
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
