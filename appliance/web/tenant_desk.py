"""What operators do to tenants, from a page or through the API alike: one transaction each, then a wait for the broker.

A claim password that was made or taken away means something once the broker knows it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from appliance.db.trio_psycopg import Connection
from appliance.devices import broker_copies, tenants
from appliance.devices.broker_copies import Arrival
from appliance.devices.tenants import IssuedClaim, Strategy, Tenant
from appliance.errors import Invalid
from appliance.people import users
from appliance.web.access import actor
from appliance.web.services import Services


@dataclass(slots=True)
class _Change:
    """A transaction, and where its change has got to once it is over."""

    connection: Connection[Any]
    arrival: Arrival = Arrival.PENDING


@dataclass(frozen=True, slots=True)
class HandedClaim:
    """A claim user, this one time, and whether the broker knows it already."""

    claim: IssuedClaim
    arrival: Arrival


class TenantDesk:
    """Changes of tenants by the current operator. Errors are those of ``appliance.devices.tenants``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list_all(self) -> list[Tenant]:
        """All of them, by id."""
        async with self._services.access.reading() as connection:
            return await tenants.list_all(connection)

    async def get(self, tenant_id: str) -> Tenant:
        """One of them. Raises NotFound."""
        async with self._services.access.reading() as connection:
            return await tenants.get(connection, tenant_id)

    async def add(self, tenant_id: str, name: str, time_zone: str, provisioning: Strategy) -> HandedClaim:
        """A new tenant with an open claim user. Raises Invalid, which names the field; Conflict."""
        fault = tenants.fault_of(tenant_id)
        if fault is not None:
            raise Invalid(f"{fault[0].upper()}{fault[1:]}.", "tenant_id")
        zone = users.zone_of(time_zone) or "UTC"
        async with self._changing() as change:
            claim = await tenants.add(
                change.connection, tenant_id, actor(), name=name, provisioning=provisioning, time_zone=zone
            )
        return HandedClaim(claim, change.arrival)

    async def suspend(self, tenant_id: str) -> Tenant:
        """Refuse its messages. Raises NotFound."""
        async with self._services.access.changing() as connection:
            return await tenants.suspend(connection, tenant_id, actor())

    async def resume(self, tenant_id: str) -> Tenant:
        """Take its messages again. Raises NotFound."""
        async with self._services.access.changing() as connection:
            return await tenants.resume(connection, tenant_id, actor())

    async def set_provisioning(self, tenant_id: str, strategy: Strategy) -> Tenant:
        """Decide what becomes of its new devices. Raises NotFound."""
        async with self._services.access.changing() as connection:
            return await tenants.set_provisioning(connection, tenant_id, strategy, actor())

    async def set_claim(self, tenant_id: str, *, enabled: bool) -> Tenant:
        """Open or close its claim user. Raises NotFound."""
        async with self._changing() as change:
            return await tenants.set_claim(change.connection, tenant_id, actor(), enabled=enabled)

    async def rotate_claim(self, tenant_id: str) -> HandedClaim:
        """A new claim password; the old one is dead. Raises NotFound."""
        async with self._changing() as change:
            claim = await tenants.rotate_claim(change.connection, tenant_id, actor())
        return HandedClaim(claim, change.arrival)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[_Change]:
        async with self._services.access.changing() as connection:
            change = _Change(connection)
            yield change
            told = await broker_copies.this_change(connection)
        change.arrival = await broker_copies.settle(self._services.pool, told)
