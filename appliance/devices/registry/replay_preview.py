"""A preview of the registry: the statuses of devices if their messages came now; seats are given in memory only.

Enters: keys of devices. Leaves: statuses, as :meth:`appliance.devices.registry.cache.Registry.resolve` gives them.
Never: a change of anything. A change a moment later makes the preview wrong.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.state import DeviceState
from appliance.devices.registry import provisioning
from appliance.devices.registry.cache import FOREVER, AdmissionStatus, Registry
from appliance.devices.registry.provisioning import DeviceKey, ProvisioningRequest, ProvisioningTenant, seat_new_devices
from appliance.devices.registry.refusals import REFUSED_STATUSES
from appliance.devices.seats.allocator import SeatAllocator
from appliance.devices.site_ids import mentioned_site
from appliance.reading import Refusal
from appliance.subscriptions import rows


class RegistryPreview:
    """The registry of one preview: remembers which devices it has seated. Grows with the devices it is asked for."""

    def __init__(self, registry: Registry, pool: Pool, clock: Clock, *, grace: timedelta) -> None:
        self._registry = registry
        self._pool = pool
        self._clock = clock
        self._grace = grace
        self._known: dict[DeviceKey, AdmissionStatus] = {}
        self._tenants: dict[str, ProvisioningTenant] = {}
        self._allocators: dict[str, SeatAllocator] = {}
        self._nobody = DeviceState("", "")
        self.new_devices = 0
        """Devices that would be registered."""

    async def resolve(self, wanted: Mapping[DeviceKey, str | None]) -> dict[DeviceKey, AdmissionStatus]:
        """Return the status of each device of ``wanted`` (key -> site that a message names)."""
        unknown = {key: site for key, site in wanted.items() if key not in self._known}
        if unknown:
            found = await self._registry.statuses(unknown)
            requests = [
                ProvisioningRequest(*key, site)
                for key, site in unknown.items()
                if not found[key].registered and found[key].tenant.active
            ]
            if requests:
                await self._seat(requests, found)
            self._known |= found
        for key, site in wanted.items():
            status = self._known[key]
            status.state = self._nobody  # changes of the state are of no interest
            if status.registered and status.site_id is None:
                status.site_id = None if site is None else mentioned_site(site).site_id
        return {key: self._known[key] for key in wanted}

    async def _seat(self, requests: Iterable[ProvisioningRequest], found: dict[DeviceKey, AdmissionStatus]) -> None:
        """Seat devices in the order of the provisioner, by the same rules, on a copy of the seats."""
        ordered = sorted(requests, key=lambda request: request.key)
        async with self._pool.connection() as connection:
            await self._learn(connection, {request.tenant_id for request in ordered} - self._tenants.keys())
        known = [request for request in ordered if request.tenant_id in self._tenants]  # the others were just removed
        new_devices, refused = seat_new_devices(known, self._tenants, self._allocators)
        for new_device in new_devices:
            key = new_device.request.key
            refusal = REFUSED_STATUSES.get(new_device.status)
            found[key] = AdmissionStatus(found[key].tenant, refusal, FOREVER, registered=True)
            self.new_devices += 1
            if refusal is not None:
                tenant = self._tenants[key[0]]
                self._tenants[key[0]] = ProvisioningTenant(
                    tenant.tenant_id, tenant.status, tenant.strategy, tenant.pending + 1
                )
        for key, verdict in refused.items():
            assert isinstance(verdict, Refusal), "whoever is not seated is refused"  # noqa: S101 - narrows the type
            found[key] = AdmissionStatus(found[key].tenant, verdict, FOREVER)

    async def _learn(self, connection: Connection[Any], tenants: Iterable[str]) -> None:
        """Read how tenants take in new devices, and which seats they have."""
        missing = sorted(tenants)
        if not missing:
            return
        cursor = await connection.execute(provisioning.STATEMENTS["select_tenants"], {"tenants": missing})
        self._tenants |= {row[0]: ProvisioningTenant(*row) for row in await cursor.fetchall()}
        owned = await rows.select(connection, missing)
        now = datetime.fromtimestamp(self._clock.settled(), UTC)
        for tenant_id in missing:
            mine = [row for row in owned if row.tenant_id == tenant_id]
            self._allocators[tenant_id] = SeatAllocator(mine, now, grace=self._grace)
