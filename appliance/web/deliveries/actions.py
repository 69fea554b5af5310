"""Deliveries as the current viewer may see and change them, from a page or through the API alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import deliveries
from appliance.delivery.outbox.deliveries import Attempt, Delivery, DeliveryFilter, DeliveryPage
from appliance.delivery.outbox.job import JobStatus
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access


@dataclass(frozen=True, slots=True)
class WholeDelivery:
    """One delivery with its attempts, newest first."""

    delivery: Delivery
    attempts: Sequence[Attempt]


class DeliveryActions:
    """Each change is one transaction, with its audit row."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def page(
        self, wanted: DeliveryFilter, *, limit: int, after: int | None = None, seen_by: Viewer | None = None
    ) -> DeliveryPage:
        """Return a page of deliveries, as the viewer (or ``seen_by``, for a live page) sees them."""
        async with self._access.reading(seen_by) as connection:
            return await deliveries.page(connection, wanted, limit=limit, after=after)

    async def show(self, tenant_id: str | None, job_id: int, seen_by: Viewer | None = None) -> WholeDelivery:
        """Return one delivery. Raises NotFound."""
        async with self._access.reading(seen_by) as connection:
            return await _whole(connection, tenant_id, job_id)

    async def retry(self, tenant_id: str, job_id: int) -> WholeDelivery:
        """Send a dead delivery again, or one at once that waits for its next try. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            await deliveries.retry(connection, tenant_id, job_id, context)
            return await _whole(connection, tenant_id, job_id)

    async def retry_dead(self, wanted: DeliveryFilter) -> int:
        """Send the dead deliveries of a filter again; return how many."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return await deliveries.retry_dead(connection, wanted, context)

    async def counts(self, wanted: DeliveryFilter) -> dict[JobStatus, int]:
        """Return the number of deliveries of a filter by status."""
        async with self._access.reading() as connection:
            return await deliveries.counts(connection, wanted)

    async def cancel(self, tenant_id: str, job_id: int) -> WholeDelivery:
        """Never send a delivery that waits, and return it. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            await deliveries.cancel(connection, tenant_id, job_id, context)
            return await _whole(connection, tenant_id, job_id)


async def _whole(connection: Connection[Any], tenant_id: str | None, job_id: int) -> WholeDelivery:
    delivery = await deliveries.get(connection, tenant_id, job_id)
    return WholeDelivery(delivery, await deliveries.attempts(connection, delivery.tenant_id, job_id))
