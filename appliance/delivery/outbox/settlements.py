"""Tries that end at about the same time are written down together: one transaction instead of many.

Whoever waits for its turn at the database takes along what else has ended of its tenant by then. Nothing is delayed for
company. What cannot be written down together is written down one by one, so that a row that somebody holds costs the
others one try.
"""

from weakref import WeakValueDictionary

import psycopg
import structlog
import trio

from appliance.delivery.outbox.settling import Settling, Tried

MOST_TOGETHER = 64
"""Tries in one transaction."""

log = structlog.get_logger(__name__)


class Settlements:
    """Gathers the tries of one process."""

    def __init__(self, settling: Settling, database: trio.CapacityLimiter) -> None:
        """``database``: whose turn it is to use the database."""
        self._settling = settling
        self._database = database
        self._next: dict[str, list[Tried]] = {}
        """By tenant: what the next turn will write down, its first one waiting for that."""
        self._turns = WeakValueDictionary[str, trio.Lock]()
        """By tenant: held while some are written down together, so that the next ones gather."""

    async def settle(self, tried: Tried) -> None:
        """Return once a try is written down. Raises psycopg.Error and OSError: it was not."""
        if not tried.alone and not tried.ended.is_set():
            await self._settle_together(tried)
        if not tried.settled:
            async with self._database:
                await self._settling.settle([tried])

    async def _settle_together(self, tried: Tried) -> None:
        tenant_id = tried.integration.tenant_id
        together = self._next.get(tenant_id)
        if together is None or len(together) >= MOST_TOGETHER:
            await self._lead(tenant_id, tried)
            return
        together.append(tried)
        try:
            await tried.ended.wait()
        finally:
            if self._next.get(tenant_id) is together and tried in together:
                together.remove(tried)  # cut off before its turn

    async def _lead(self, tenant_id: str, first: Tried) -> None:
        """Wait for a turn, and write down what has gathered by then."""
        together = self._next[tenant_id] = [first]
        turn = self._turns.setdefault(tenant_id, trio.Lock())
        try:
            async with turn, self._database:
                self._close(tenant_id, together)
                await self._settling.settle(together)
        except (psycopg.Error, OSError, ValueError) as error:  # a text that cannot be encoded is a ValueError
            if len(together) == 1:
                raise
            log.info("outcomes of deliveries are written down one by one", error=str(error).strip())
        finally:
            self._close(tenant_id, together)
            for one in together:
                one.ended.set()

    def _close(self, tenant_id: str, together: list[Tried]) -> None:
        if self._next.get(tenant_id) is together:
            del self._next[tenant_id]
