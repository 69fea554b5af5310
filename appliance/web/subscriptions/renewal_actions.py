"""Renewals by the current viewer, for pages and the API alike: one transaction, then a wait for the broker.

The broker is waited for only where devices stop, since their credentials are revoked: a few seconds at most.
"""

from dataclasses import dataclass

from appliance.devices.credentials.broker_sync import SyncStatus, credential_change
from appliance.renewals import renewal, requests
from appliance.renewals.answer import Answer
from appliance.renewals.plan import Request
from appliance.renewals.renewal import Preview, Renewed
from appliance.web.platform import Platform


@dataclass(frozen=True, slots=True)
class RenewalOutcome:
    """A renewal, and whether the broker knows that credentials are revoked; None where none is."""

    renewed: Renewed
    sync_status: SyncStatus | None


class RenewalActions:
    """Renews subscriptions. Errors are those of :mod:`appliance.renewals.renewal`."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._access = platform.access
        self._policy = platform.renewals

    async def renew(
        self, tenant_id: str, request: Request, *, key: str | None, seen: str | None = None
    ) -> RenewalOutcome:
        """Renew a subscription, or answer what the same request was answered; ``seen``: the version of a preview."""
        async with credential_change(self._access.changing(), self._platform.pool.connection) as change:
            renewed = await renewal.renew(
                change.connection,
                tenant_id,
                request,
                self._access.context(),
                key=key,
                policy=self._policy,
                trusted=self._platform.clock.trusted,
                seen=seen,
            )
            if not renewed.answer.devices_deactivated:
                change.spare_broker()
        return RenewalOutcome(renewed, change.sync_status if change.concerns_broker else None)

    async def preview(self, tenant_id: str, request: Request) -> Preview:
        """Return what a request would do now."""
        async with self._access.reading() as connection:
            return await renewal.preview(connection, tenant_id, request, self._access.now(), policy=self._policy)

    async def answer_of(self, tenant_id: str, subscription_id: str, request_id: int) -> Answer:
        """Return what was answered to a request that is kept. Raises NotFound."""
        async with self._access.reading() as connection:
            return await requests.answer_of(connection, tenant_id, subscription_id, request_id)
