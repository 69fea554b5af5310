"""What people do to devices, from a page or through the API alike: one transaction each, then a wait for the broker.

A changed credential takes effect once the broker has applied it. The caller waits for that a few seconds at most, and
gets ``SyncStatus.PENDING`` if it takes longer.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from appliance.devices import description, fleet
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.broker_sync import CredentialChange, SyncStatus
from appliance.devices.credentials.credential import Credential, IssuedSecrets, Rotation
from appliance.devices.description import Description, OwnLimits
from appliance.devices.device import Event, NewDevice
from appliance.devices.fleet import FleetDevice
from appliance.devices.seats import bulk, changes, import_file, imports
from appliance.devices.seats.bulk import BulkAnswer
from appliance.devices.seats.import_file import ImportRow
from appliance.devices.seats.imports import ImportLine, ImportOutcome
from appliance.errors import NoRoom
from appliance.web.platform import Platform


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """Secrets, which are shown only once, with the credential that they belong to."""

    issued: IssuedSecrets
    credential: Credential
    sync_status: SyncStatus


@dataclass(frozen=True, slots=True)
class ImportResult:
    """An import, row by row, with the secrets of the new devices if they were requested."""

    rows: Sequence[ImportRow]
    lines: Sequence[ImportLine]
    issued: Sequence[IssuedSecrets] = ()
    sync_status: SyncStatus | None = None


class DeviceActions:
    """Changes of devices by the current viewer. Errors are those of the domain's functions."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._access = platform.access
        self._grace = platform.grace

    async def create(self, tenant_id: str, new: NewDevice) -> IssuedCredential:
        """Register a device and give it a credential."""
        async with self._changing() as change:
            await changes.create(change.connection, tenant_id, new, self._access.context(), grace=self._grace)
            issued = await credentials.create(change.connection, tenant_id, new.device_id, self._access.context())
            credential = await credentials.get(change.connection, tenant_id, new.device_id)
        return _issued(issued, credential, change.sync_status)

    async def rotate(self, tenant_id: str, device_id: str, rotation: Rotation) -> IssuedCredential:
        """Make a new password and token, the first ones for a device without a credential of its own."""
        async with self._changing() as change:
            issued = await credentials.rotate(change.connection, tenant_id, device_id, self._access.context(), rotation)
            credential = await credentials.get(change.connection, tenant_id, device_id)
        return _issued(issued, credential, change.sync_status)

    async def switch(self, tenant_id: str, device_id: str) -> SyncStatus:
        """Switch to the staged password."""
        async with self._changing() as change:
            await credentials.switch(change.connection, tenant_id, device_id, self._access.context())
        return change.sync_status

    async def revoke(self, tenant_id: str, device_id: str) -> SyncStatus:
        """Revoke a device."""
        async with self._changing() as change:
            await changes.revoke(change.connection, tenant_id, device_id, self._access.context())
        return change.sync_status

    async def delete(self, tenant_id: str, device_id: str, *, keep_history: bool) -> SyncStatus:
        """Delete a device, with its readings or without."""
        async with self._changing() as change:
            await changes.delete(
                change.connection, tenant_id, device_id, self._access.context(), keep_history=keep_history
            )
        return change.sync_status

    async def deactivate(self, tenant_id: str, device_id: str, *, revoke_credential: bool) -> SyncStatus:
        """Deactivate a device: free its seat, and with ``revoke_credential`` revoke its credential."""
        async with self._changing() as change:
            if not revoke_credential:
                change.spare_broker()
            await changes.deactivate(
                change.connection, tenant_id, device_id, self._access.context(), revoke_credential=revoke_credential
            )
        return change.sync_status

    async def step(self, tenant_id: str, device_id: str, event: Event, subscription_id: str | None = None) -> None:
        """Approve, reject or reactivate a device, or move it to another subscription."""
        async with self._access.changing() as connection:
            match event:
                case Event.APPROVE:
                    await changes.approve(
                        connection, tenant_id, device_id, self._access.context(), subscription_id, grace=self._grace
                    )
                case Event.REJECT:
                    await changes.reject(connection, tenant_id, device_id, self._access.context())
                case Event.REACTIVATE:
                    await changes.reactivate(
                        connection, tenant_id, device_id, self._access.context(), subscription_id, grace=self._grace
                    )
                case Event.MOVE if subscription_id is not None:
                    await changes.move(
                        connection, tenant_id, device_id, subscription_id, self._access.context(), grace=self._grace
                    )
                case _:
                    raise ValueError(f"{event} is not a step of this kind")

    async def step_many(
        self, tenant_id: str, devices: Iterable[str], event: Event, subscription_id: str | None = None
    ) -> list[BulkAnswer]:
        """Take one step for many devices, deactivation included. Return an answer for each."""
        async with self._access.changing() as connection:
            return await bulk.change_many(
                connection, tenant_id, devices, event, self._access.context(), subscription_id, grace=self._grace
            )

    async def describe(
        self, tenant_id: str, seen: FleetDevice, stated: Description, limits: OwnLimits | None = None
    ) -> FleetDevice:
        """Edit a device as it was ``seen``; operators also set its limits. Raises Conflict if it has changed."""
        device_id = seen.device.device_id
        async with self._access.changing() as connection:
            await description.describe(
                connection, tenant_id, device_id, stated, self._access.context(), version=seen.version
            )
            if limits is not None and limits != seen.limits:
                await description.set_limits(connection, tenant_id, device_id, limits, self._access.context())
            return await fleet.get(connection, tenant_id, device_id)

    async def import_csv(
        self, tenant_id: str, data: bytes, *, dry_run: bool, with_credentials: bool = False
    ) -> ImportResult:
        """Register the devices of a CSV file; a dry run only returns the result of each row."""
        rows = import_file.read(data)
        devices = [row.new for row in rows]
        if dry_run:
            async with self._access.reading() as connection:
                return ImportResult(
                    rows,
                    await imports.import_many(
                        connection, tenant_id, devices, self._access.context(), grace=self._grace, dry_run=True
                    ),
                )
        if self._platform.health().disk is not None:  # thousands of rows would take what is left for everybody else
            raise NoRoom("The disk is full: devices are imported once there is room. Nothing was changed.")
        async with self._changing() as change:
            context = self._access.context()
            lines = await imports.import_many(change.connection, tenant_id, devices, context, grace=self._grace)
            made = [line.new.device_id for line in lines if line.outcome is ImportOutcome.CREATED]
            if not (with_credentials and made):
                change.spare_broker()
                return ImportResult(rows, lines)
            issued = await credentials.create_many(change.connection, tenant_id, made, context)
        return ImportResult(rows, lines, issued, change.sync_status)

    def _changing(self) -> AbstractAsyncContextManager[CredentialChange]:
        """Open a transaction of the viewer that changes credentials, then wait for the broker."""
        return self._access.changing_credentials()


def _issued(issued: IssuedSecrets, credential: Credential | None, sync_status: SyncStatus) -> IssuedCredential:
    assert credential is not None, "it was made in the same transaction"  # noqa: S101 - narrows the type
    return IssuedCredential(issued, credential, sync_status)
