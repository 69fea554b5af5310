"""Notices held since a restore, for operators: shown, and sent again once the old machine is off."""

from collections.abc import Callable
from typing import Any

import msgspec

from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import restore_hold
from appliance.web.platform import Platform


class RestoreView(msgspec.Struct, frozen=True):
    """A restore of which nobody has confirmed that the old machine is off. Times are seconds since 1970."""

    restored_at: float
    made_at: float
    """When the backup was made."""
    held: int
    """Notices that wait since."""


class RestoreConfirmed(msgspec.Struct, frozen=True):
    """What a confirmation let go."""

    released: int
    """Notices that were held: what opened and what ended is told in one summary a route."""


async def read_restore(connection: Connection[Any]) -> RestoreView | None:
    """Return the hold on notices; None: there is none."""
    hold = await restore_hold.read(connection)
    if hold is None:
        return None
    held = await restore_hold.count_held(connection)
    return RestoreView(hold.restored_at.timestamp(), hold.made_at.timestamp(), held)


class RestoreActions:
    """Confirms for the current viewer, an operator, that the old machine is off."""

    def __init__(self, platform: Platform, confirmed: Callable[[], None]) -> None:
        """``confirmed``: called after a confirmation."""
        self._access = platform.access
        self._confirmed = confirmed

    async def view(self) -> RestoreView | None:
        """Return the hold on notices; None: there is none."""
        async with self._access.reading() as connection:
            return await read_restore(connection)

    async def confirm(self) -> RestoreConfirmed:
        """Let notices go. Raises Conflict when none are held."""
        async with self._access.changing() as connection:
            held = await restore_hold.confirm(connection, self._access.context())
        self._confirmed()
        return RestoreConfirmed(held)
