"""The seat allocator: decides in memory, over rows that the caller holds locked, which subscription gives a seat."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from appliance.db.require import require
from appliance.errors import NoCapacity
from appliance.subscriptions.lifecycle import Subscription, preferred, status_at, usable


class SeatAllocator:
    """The free seats of one tenant at ``now``, taken one by one in the order of preference."""

    def __init__(self, subscriptions: Iterable[Subscription], now: datetime, *, grace: timedelta) -> None:
        self._rows = {row.subscription_id: row for row in subscriptions}
        self._now = now
        self._grace = grace
        self._free: dict[str, int] = {}
        # Preference does not change while seats are in use, so it is asked for once: the best, the next best, ...
        left = dict(self._rows)
        while (best := preferred(left.values(), now, grace=grace)) is not None:
            self._free[best.subscription_id] = best.device_limit - best.active_device_count
            left[best.subscription_id] = replace(best, active_device_count=best.device_limit)
        self._order = [*reversed(self._free)]

    def take(self, wanted: str | None = None) -> str:
        """Take a seat, of the subscription ``wanted`` or of the preferred one; returns the subscription's id.

        Raises NoCapacity, with the reason, when there is none; NotFound when the tenant has no such subscription.
        """
        if wanted is None:
            while self._order and not self._free[self._order[-1]]:
                self._order.pop()
            if not self._order:
                raise NoCapacity(self._why_none())
            wanted = self._order[-1]
        elif not self._free.get(wanted):
            raise NoCapacity(self._why_not(wanted))
        self._free[wanted] -= 1
        return wanted

    def _why_none(self) -> str:
        if not self._rows:
            return "The tenant has no subscription."
        return "; ".join(self._state(row) for row in self._rows.values()) + "."

    def _why_not(self, wanted: str) -> str:
        return self._state(require(self._rows.get(wanted), f"subscription {wanted}")) + "."

    def _state(self, row: Subscription) -> str:
        """Return as text why a subscription gives no seat."""
        parent = self._rows.get(row.parent_subscription_id or "")
        status = status_at(row, self._now, parent=parent, grace=self._grace)
        if not usable(status):
            return f"{row.subscription_id} is {status}"
        if row.device_limit == 1:
            return f"the only seat of {row.subscription_id} is in use"
        return f"all {row.device_limit} seats of {row.subscription_id} are in use"
