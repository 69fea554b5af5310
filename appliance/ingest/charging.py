"""Check 3 once a message is decoded: which bucket or allowance pays for it.

Enters: messages that the limiter has charged to their buckets, or that found one empty. Leaves: None, or the scope of
the empty bucket. Never: a refusal (that is admission's), or a lookup: what is not read yet waits for its device.
"""

from appliance.devices.registry.cache import AdmissionStatus
from appliance.ingest.batch import MICROSECONDS, Candidate, Charge, Route
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import LimitScope
from appliance.reading import Reason, Refusal

DELAYED = 10 * MICROSECONDS
"""A reading so much older than its receipt was held back by its device or the link."""

RATE_LIMITED = {
    scope: Refusal(Reason.RATE_LIMITED, detail)
    for scope, detail in (
        (LimitScope.DEVICE, "the device sends more than its limit"),
        (LimitScope.TENANT, "the devices of the tenant together send more than its limit"),
        (LimitScope.OVERFLOW, "too many devices are tracked, and the ones without a place share one limit"),
    )
}


class Charging:
    """Charges delayed messages to the allowance. ``backlog``: seconds that a message may be old for it."""

    def __init__(self, limiter: Limiter, backlog: float) -> None:
        self.limiter = limiter
        self._backlog = round(backlog * MICROSECONDS)

    def delayed(self, ts: int | None, received_at: int) -> bool:
        """Return whether a message with its own time ``ts`` draws on the allowance (microseconds since 1970 UTC)."""
        return ts is not None and DELAYED <= received_at - ts <= self._backlog

    def charge(
        self, route: Route, status: AdmissionStatus | None, now: float, empty: LimitScope | None
    ) -> Charge | LimitScope:
        """Charge a delayed message, for which ``take`` returned ``empty``; return the scope of an empty bucket.

        Where the allowance is not read yet, the message must wait until its device is looked up.
        """
        if self.limiter.knows(route.bucket) or (status is not None and not status.registered):
            return self._pay(route, status is None or status.registered, now, empty) or Charge.SETTLED
        return Charge.BUCKET if empty is None else Charge.OWED

    def settle(self, candidate: Candidate, status: AdmissionStatus, now: float) -> LimitScope | None:
        """Charge a message that waited, now that the allowance of its device is read; return as ``take`` does."""
        route, charge = candidate.route, candidate.charge
        if status.registered:
            self.limiter.knows(route.bucket)
        if charge is Charge.SETTLED:
            return None
        return self._pay(route, status.registered, now, LimitScope.DEVICE if charge is Charge.OWED else None)

    def _pay(self, route: Route, registered: bool, now: float, empty: LimitScope | None) -> LimitScope | None:
        if not registered:
            return empty
        if empty is not None:
            return self.limiter.draw(route.bucket, now)
        self.limiter.shift(route.bucket, now)
        return None
