"""How many sends may be under way in this process, over all integrations and of one tenant."""

from collections import Counter

import trio

MAX_SENDS = 64
"""Sends at a time."""
MAX_SENDS_OF_TENANT = 32
"""Of one tenant: its receivers may hang, all of them, and the others' notices go on."""


class Slots:
    """Counts sends. Whoever finds none free waits for :meth:`freed`."""

    def __init__(self, most: int = MAX_SENDS, most_of_tenant: int = MAX_SENDS_OF_TENANT) -> None:
        self._free = most
        self._most_of_tenant = most_of_tenant
        self._of_tenant: Counter[str] = Counter()
        self._freed = trio.Event()

    @property
    def in_use(self) -> int:
        """The number of slots in use."""
        return self._of_tenant.total()

    def available(self, tenant_id: str) -> bool:
        """Return whether a tenant could take a slot."""
        return self._free > 0 and self._of_tenant[tenant_id] < self._most_of_tenant

    def take(self, tenant_id: str, wanted: int) -> int:
        """Take up to ``wanted`` slots, and return how many: 0 if none is free."""
        taken = max(0, min(wanted, self._free, self._most_of_tenant - self._of_tenant[tenant_id]))
        self._free -= taken
        self._of_tenant[tenant_id] += taken
        return taken

    def give(self, tenant_id: str, count: int) -> None:
        """Give slots back."""
        if count:
            self._free += count
            self._of_tenant[tenant_id] -= count
            if not self._of_tenant[tenant_id]:
                del self._of_tenant[tenant_id]
            self._freed.set()
            self._freed = trio.Event()

    def freed(self) -> trio.Event:
        """Return the event that is set when the next slot is given back."""
        return self._freed
