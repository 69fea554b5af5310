"""Deletions of tenants by operators, for pages and the API alike."""

from collections.abc import Sequence
from datetime import datetime

from appliance.offboarding import deletion
from appliance.offboarding.deletion import Deletion, TenantCounts
from appliance.offboarding.kept_copies import KeptCopy, made_before
from appliance.web.access.auth import Viewer
from appliance.web.platform import Platform
from appliance.web.tenants.port import TenantsPort

LATEST = 20
"""The newest deletions, whose progress is sent to live pages."""


class DeletionActions:
    """Asks for deletions and reads how far they are. Errors are those of ``appliance.offboarding.deletion``."""

    def __init__(self, platform: Platform, port: TenantsPort) -> None:
        self._platform = platform
        self._port = port

    async def count_tenant(self, tenant_id: str) -> TenantCounts:
        """Return what would go with a tenant."""
        async with self._platform.access.reading() as connection:
            return await deletion.count_tenant(connection, tenant_id)

    async def begin(self, tenant_id: str, version: datetime) -> int:
        """Begin a deletion, and return its id once the broker has refused the devices. Raises NotFound, Conflict."""
        access = self._platform.access
        async with access.changing_credentials() as change:
            return await deletion.request(change.connection, tenant_id, access.context(), version=version)

    async def get(self, deletion_id: int) -> Deletion:
        """Return one deletion. Raises NotFound."""
        async with self._platform.access.reading() as connection:
            return await deletion.get(connection, deletion_id)

    async def copies(self, deletions: Sequence[Deletion]) -> list[list[KeptCopy] | None]:
        """Return for each deletion the copies that may have what it removes; None where they cannot be read."""
        kept = await self._port.kept_copies()
        now = self._platform.access.now()
        return [None if kept is None else made_before(kept, each.finished_at, now) for each in deletions]

    async def list_page(self, *, limit: int, after: int | None) -> tuple[list[Deletion], int | None]:
        """Return at most ``limit`` deletions, newest first, and the last id of the page if more follow."""
        async with self._platform.access.reading() as connection:
            page = await deletion.list_page(connection, limit=limit + 1, after=after)
        return page[:limit], page[limit - 1].deletion_id if len(page) > limit else None

    async def latest(self, seen_by: Viewer) -> Sequence[Deletion]:
        """Return the newest deletions, for a live page of an operator."""
        async with self._platform.access.reading(seen_by) as connection:
            return await deletion.list_page(connection, limit=LATEST, after=None)
