"""The exchange of a tenant's claim password for a device's own credential.

The caller has checked the claim password. A device that is not registered is provisioned as by its first message.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from appliance.db.change_context import ChangeContext
from appliance.db.pool import Pool
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.broker_sync import credential_change
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.registry.provisioning import DeviceKey, ProvisioningRequest, ProvisioningResult
from appliance.devices.registry.refusals import TOO_LATE
from appliance.reading import Reason, Refusal

Provision = Callable[[Iterable[ProvisioningRequest]], Awaitable[dict[DeviceKey, ProvisioningResult]]]
"""See :meth:`appliance.devices.registry.provisioning.Provisioner.provision`."""

MAY_STILL_COME = frozenset({Reason.PENDING_APPROVAL, Reason.NO_SUBSCRIPTION_CAPACITY})
"""Refusals that a person can lift; the device asks again."""

CHANGED_MEANWHILE = Refusal(Reason.DEVICE_INACTIVE, "the device was deactivated at the same moment")


@dataclass(frozen=True, slots=True)
class ClaimPending:
    """The claim waits for approval or a seat (202)."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class ClaimTaken:
    """The device has a credential of its own already; a person rotates or revokes it (409)."""


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """The claim is refused: the device is out of service, or its tenant registers devices by hand."""

    refusal: Refusal


ClaimOutcome = IssuedSecrets | ClaimPending | ClaimTaken | ClaimRefused


async def claim(pool: Pool, provision: Provision, request: ProvisioningRequest, context: ChangeContext) -> ClaimOutcome:
    """Give the device its own credential, once among concurrent callers; return when the broker knows it.

    Raises psycopg.OperationalError when the database cannot be reached.
    """
    verdict = (await provision([request]))[request.key]
    if isinstance(verdict, Refusal):
        waits = verdict.reason in MAY_STILL_COME or verdict == TOO_LATE
        return ClaimPending(verdict) if waits else ClaimRefused(verdict)
    async with credential_change(pool.transaction(), pool.connection) as change:
        issued = await credentials.create_many(change.connection, request.tenant_id, [request.device_id], context)
        if not issued:
            change.spare_broker()
            held = await credentials.get(change.connection, request.tenant_id, request.device_id)
            return ClaimRefused(CHANGED_MEANWHILE) if held is None else ClaimTaken()
    return issued[0]
