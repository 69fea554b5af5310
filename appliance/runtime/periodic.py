"""Periodic work in one form: a round that is made again and again, until the service is cancelled.

Enters: a round and the seconds between two. Leaves: rounds one after the other, noted in the service's activity. Never:
two rounds at once, and no round is made up for.

A round fails in two ways. Postgres or the disk is away (``AWAY``): that is logged when it begins, and tried again soon,
then less often, at least once an interval. Anything else is a bug: it ends the service, and with it the process.
"""

from collections.abc import Awaitable, Callable
from enum import Enum

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.runtime.activity import activity

AWAY = (psycopg.Error, OSError)
"""What a round may raise when something it needs is away; a pool without a free connection is among it."""
FIRST_RETRY_SECONDS = 1.0

Round = Callable[[], Awaitable[float | None]]
"""One round. It returns the seconds until the next one, None for the usual interval."""

log = structlog.get_logger(__name__)


class First(Enum):
    """When the first round is made."""

    AT_ONCE = "at once"
    """The service has started already."""
    BEFORE_START = "before start"
    """The service starts when it is done; if it fails, so does the start."""
    AFTER_INTERVAL = "after an interval"


async def every(
    interval: float,
    make_round: Round,
    *,
    chore: str,
    first: First = First.AT_ONCE,
    woken: Callable[[], Awaitable[None]] = trio.sleep_forever,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Make a round every ``interval`` seconds, for ever. ``chore`` names the work in the log.

    The next round comes earlier when ``woken`` returns, unless the one before has failed.

    Raises what a round raises that is not ``AWAY``; in the first round before the start, that too.
    """
    backoff = Backoff(first=min(FIRST_RETRY_SECONDS, interval), maximum=interval)
    if first is First.BEFORE_START:
        activity().begins()
        rest = await make_round()
        activity().did()
        task_status.started()
        await _rest(interval if rest is None else rest, woken)
    else:
        task_status.started()
        if first is First.AFTER_INTERVAL:
            await _rest(interval)
    while True:
        activity().begins()
        try:
            rest = await make_round()
        except AWAY as error:
            note = log.debug if activity().failing else log.warning  # the others of a row say nothing new
            note("put off", chore=chore, error=str(error).strip())
            activity().failed(error)
            await _rest(backoff.next())
        else:
            backoff.reset()
            activity().did()
            await _rest(interval if rest is None else rest, woken)


async def _rest(seconds: float, woken: Callable[[], Awaitable[None]] = trio.sleep_forever) -> None:
    activity().rests(seconds)
    with trio.move_on_after(seconds):
        await woken()
