"""A backup that an operator asks for: recorded, and made by the service of nightly backups."""

from collections.abc import Callable

import msgspec

from appliance.db.audit import Entry, record
from appliance.db.require import require
from appliance.web.platform import Platform


class BackupAsked(msgspec.Struct, frozen=True):
    """A backup that was asked for, and is made now."""

    asked: bool = True


class BackupActions:
    """Asks for backups for the current viewer, an operator."""

    def __init__(self, platform: Platform, back_up: Callable[[], None] | None) -> None:
        """``back_up`` has one made; None where no folder is configured."""
        self._access = platform.access
        self._back_up = back_up

    async def ask(self) -> BackupAsked:
        """Have a backup made now. Raises NotFound without a folder for it, Conflict while one is made."""
        back_up = require(self._back_up, "folder for backups: set backup.folder")
        context = self._access.context()
        async with self._access.changing() as connection:
            await record(connection, Entry(context.actor, "backup.request", "backup", ""), now=context.now)
            back_up()
        return BackupAsked()
