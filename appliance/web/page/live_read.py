"""What live parts read from Postgres: at once, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from appliance.web.live.parts import NotNow
from appliance.web.page.failures import POSTGRES_AWAY

POSTGRES_TIMEOUT = 1.0
"""Seconds that an update waits for Postgres; longer would look like a lost connection."""


@contextmanager
def live_read() -> Iterator[None]:
    """Read within the block. Raises NotNow where Postgres is not reachable, or has not answered in time.

    The numbers of the navigation have a limit of their own: slow ones are left out, and keep no page from what it has.
    """
    try:
        with trio.fail_after(POSTGRES_TIMEOUT):
            yield
    except POSTGRES_AWAY as error:
        raise NotNow(str(error)) from error
