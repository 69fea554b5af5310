"""Check 3 once a message is decoded: which bucket or allowance pays for it.

Enters: messages that the limiter has charged to their buckets, or that found one empty. Leaves: None, or the scope of
the empty bucket. Never: a refusal (that is admission's), or a lookup: what is not read yet waits for its device.
"""

from appliance.devices.registry.cache import AdmissionStatus
from appliance.ingest.batch import Candidate, Charge, Route
from appliance.ingest.limits.bucket import LEAST_DELAYED
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import LimitScope
from appliance.reading import Reason, Refusal

LEAST_AGE = LEAST_DELAYED // 1000
"""Microseconds. Asked first: the usual message is younger."""
SETTLED = Charge.SETTLED

RATE_LIMITED = {
    scope: Refusal(Reason.RATE_LIMITED, detail)
    for scope, detail in (
        (LimitScope.DEVICE, "the device sends more than its limit"),
        (LimitScope.TENANT, "the devices of the tenant together send more than its limit"),
        (LimitScope.OVERFLOW, "too many devices are tracked, and the ones without a place share one limit"),
    )
}


class Charging:
    """Charges delayed messages to the allowance."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter

    def delayed(self, route: Route, ts: int, received_at: int) -> bool:
        """Return whether a message with its own time ``ts`` draws on the allowance (microseconds since 1970 UTC)."""
        return self.limiter.delayed(route.bucket, 1000 * (received_at - ts))

    def charge(
        self,
        route: Route,
        ts: int | None,
        received_at: int,
        status: AdmissionStatus | None,
        now: float,
        empty: LimitScope | None,
    ) -> Charge | LimitScope:
        """Charge a decoded message, for which ``take`` returned ``empty``; return the scope of an empty bucket.

        Where the allowance is not read yet, a delayed one must wait until its device is looked up.
        """
        if ts is None or not self.delayed(route, ts, received_at):
            return SETTLED if empty is None else empty
        if self.limiter.knows(route.bucket) or (status is not None and not status.registered):
            return self._pay(route, status is None or status.registered, now, empty) or SETTLED
        return Charge.BUCKET if empty is None else Charge.OWED

    def settle(self, candidate: Candidate, status: AdmissionStatus, now: float) -> LimitScope | None:
        """Charge a message that waited, now that the allowance of its device is read; return as ``take`` does."""
        route, charge = candidate.route, candidate.charge
        if status.registered:
            self.limiter.knows(route.bucket)
        if charge is SETTLED:
            return None
        if charge is Charge.BEHIND:
            return self.limiter.take(route.bucket, now)
        return self._pay(route, status.registered, now, LimitScope.DEVICE if charge is Charge.OWED else None)

    def _pay(self, route: Route, registered: bool, now: float, empty: LimitScope | None) -> LimitScope | None:
        if not registered:
            return empty
        if empty is not None:
            return self.limiter.draw(route.bucket, now)
        self.limiter.shift(route.bucket, now)
        return None
