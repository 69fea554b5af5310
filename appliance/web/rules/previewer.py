"""Runs previews for people: a few at a time, each found again for a minute.

A person who looks at one device after the other, or types on in a field that opens nothing else, asks for the same
preview again; the saved rule, with which a change is compared, is the same all the while.
"""

import msgspec
import trio

from appliance.alerts.rules import preview
from appliance.alerts.rules.findings import Preview, PreviewedRule
from appliance.web.access.transactions import Access

AT_ONCE = 2
"""Previews that run at the same time: each takes one core for up to 2 s, and ingest needs it too."""
MAX_AGE = 60.0
"""Seconds for which a preview is found again."""
MAX_KEPT = 64
"""Previews that are kept, of up to 1,000 openings each."""

PreviewKey = tuple[str, str, bytes]
"""The tenant, the kind, and parameters and scope as JSON: in Python, 1 and true are the same."""


class Previewer:
    """Runs previews in the viewer's own transactions."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._kept: dict[PreviewKey, tuple[float, Preview]] = {}

    async def of(self, tenant_id: str, rule: PreviewedRule) -> Preview:
        """Return what a rule would have opened for a tenant, which must be one that the viewer sees."""
        key = (tenant_id, rule.kind.name.value, msgspec.json.encode((rule.parameters, rule.scope)))
        async with self._turns:
            made_at, found = self._kept.get(key, (float("-inf"), None))
            if found is not None and trio.current_time() - made_at < MAX_AGE:
                return found
            async with self._access.reading() as connection:
                found = await preview.run(connection, tenant_id, rule, now=self._access.now())
            if len(self._kept) >= MAX_KEPT:
                self._kept.pop(min(self._kept, key=lambda one: self._kept[one][0]))
            self._kept[key] = (trio.current_time(), found)
        return found
