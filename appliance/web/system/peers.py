"""The appliances on the database, for operators: one that is away is removed, by page and API alike."""

from appliance.db.require import require
from appliance.errors import Conflict
from appliance.peers import store
from appliance.peers.store import Peer
from appliance.web.platform import Platform
from appliance.web.system.reader import SystemReader


class PeerActions:
    """Shows and removes peers. Errors are those of ``appliance.peers.store``."""

    def __init__(self, platform: Platform, reader: SystemReader) -> None:
        self._platform = platform
        self._reader = reader

    async def get(self, instance: str) -> Peer:
        """Return one of the appliances on the database. Raises NotFound."""
        access = self._platform.access
        async with access.reading() as connection:
            found = {peer.instance: peer for peer in await store.list_all(connection, access.now())}
        return require(found.get(instance), "such appliance")

    async def remove(self, instance: str) -> None:
        """Remove an appliance that does not come back. Raises NotFound; Conflict while it is not surely away."""
        access = self._platform.access
        if instance == self._platform.instance:
            raise Conflict("This appliance cannot remove itself: remove it from another one, after it was stopped.")
        if not self._platform.clock.trusted:
            raise Conflict(
                "The clock is in doubt, and so is whether the appliance is away: set or confirm the clock first."
            )
        async with access.changing() as connection:
            await store.remove(connection, instance, access.context())
        self._reader.forget_peers()
