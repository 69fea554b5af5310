"""Previews replays: what a replay of a selection would do, and which held messages could be stored by now.

Enters: a selection. Leaves: the number of messages that would pass, and the reasons of the others. Never: a change of
the database; seats of new devices are taken in memory only, in the order in which a replay would take them.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import trio

from appliance.clock import Clock
from appliance.config import Ingest, Retention
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.devices.registry.cache import Registry
from appliance.devices.registry.provisioning import DeviceKey
from appliance.devices.registry.replay_preview import RegistryPreview
from appliance.ingest.quarantine.replayer import REPLAY_ROWS
from appliance.ingest.quarantine.replays import measure, replayable
from appliance.ingest.quarantine.revalidation import HeldMessage, Revalidation
from appliance.ingest.quarantine.store import Selection, check_ids
from appliance.reading import HELD_REASONS, Reason, Refusal

MAX_EXAMINED = 400_000
"""Messages that a preview examines at most. What it remembers of their devices stays below 100 MB."""
MAX_GROUPS = 50_000
"""Pairs of device and site that offers examine at most."""

CAUSES: Mapping[Reason, str] = {
    Reason.UNREGISTERED_DEVICE: "the device is registered or can be",
    Reason.PENDING_APPROVAL: "the device was approved",
    Reason.NO_SUBSCRIPTION_CAPACITY: "there are free seats",
    Reason.DEVICE_INACTIVE: "the device was reactivated",
    Reason.SUBSCRIPTION_SUSPENDED: "the subscription works again",
    Reason.SUBSCRIPTION_EXPIRED: "the subscription was renewed",
    Reason.SITE_MISMATCH: "the device is at that site",
    Reason.INTERNAL_ERROR: "the fault may be fixed",
}
"""What has changed once messages of a reason can be stored. A key for each reason that holds messages."""


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """The result that a replay of the ``examined`` oldest of ``selected`` messages would have now."""

    selected: int
    examined: int
    passing: int
    refused: Mapping[Reason, int]
    new_devices: int
    """Devices that would be registered and given a seat."""

    @property
    def complete(self) -> bool:
        """Whether every message was examined."""
        return self.examined >= self.selected


@dataclass(frozen=True, slots=True)
class Offer:
    """Held messages of one reason that could be stored by now, and what has changed."""

    reason: Reason
    cause: str
    messages: int
    devices: int
    oldest: datetime


class ReplayPreviewer:
    """Previews replays. Only reads from ``registry``."""

    def __init__(
        self, pool: Pool, registry: Registry, clock: Clock, ingest: Ingest, retention: Retention, *, grace: timedelta
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._clock = clock
        self._ingest = ingest
        self._retention = retention
        self._grace = grace
        self._queries = statements.load("quarantine")

    async def preview(
        self,
        selection: Selection,
        *,
        at_most: int = MAX_EXAMINED,
        progress: Callable[[int, int], None] = lambda _examined, _selected: None,
    ) -> ReplayPreview:
        """Check the messages of ``selection`` (as ``replayable`` reads it), oldest first, as a replay would.

        ``progress`` is called with the number of examined messages and their total. Raises like
        :func:`appliance.ingest.quarantine.replays.request_replay` for named messages. When nothing
        matches, all counts are zero.
        """
        wanted = replayable(selection)
        async with self._pool.connection() as connection:
            await check_ids(connection, wanted)
            selected, last = await measure(connection, wanted)
        registry = self._registry_preview()
        revalidation = Revalidation(self._ingest, self._retention, registry.resolve)
        examined = passing = after = 0
        refused: Counter[Reason] = Counter()
        while examined < min(selected, at_most):
            messages = await self._next(wanted, after, last)
            if not messages:
                selected = examined  # the others were decided on meanwhile
                break
            for item in await revalidation.judge(messages):
                if isinstance(item.verdict, Refusal):
                    refused[item.verdict.reason] += 1
                else:
                    passing += 1
            examined += len(messages)
            after = messages[-1].event_id
            progress(examined, selected)
            await trio.lowlevel.checkpoint()
        return ReplayPreview(
            max(selected, examined), examined, passing, dict(refused.most_common()), registry.new_devices
        )

    async def offers(self, tenant_id: str) -> list[Offer]:
        """Return the held messages of a tenant that could be replayed now, by reason, to offer them to people.

        Checks device, seat, subscription and site; what only the payload shows (its token) is left to the preview.
        """
        reasons = sorted(HELD_REASONS)
        parameters = {"tenant": tenant_id, "reasons": reasons, "limit": MAX_GROUPS}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._queries["select_groups"], parameters)
            groups = await cursor.fetchall()
        wanted: dict[DeviceKey, str | None] = {}
        for device_id, site_id, *_ in groups:
            wanted[tenant_id, device_id] = wanted.get((tenant_id, device_id)) or site_id
        statuses = await self._registry_preview().resolve(wanted) if wanted else {}
        messages: Counter[Reason] = Counter()
        devices: dict[Reason, set[str]] = {}
        oldest: dict[Reason, datetime] = {}
        for device_id, site_id, code, count, first in groups:
            status = statuses[tenant_id, device_id]
            if status.refusal is None and site_id in (None, status.site_id):
                reason = Reason(code)
                messages[reason] += count
                devices.setdefault(reason, set()).add(device_id)
                oldest[reason] = min(first, oldest.get(reason, first))
        return [
            Offer(reason, CAUSES[reason], count, len(devices[reason]), oldest[reason])
            for reason, count in messages.most_common()
        ]

    def _registry_preview(self) -> RegistryPreview:
        return RegistryPreview(self._registry, self._pool, self._clock, grace=self._grace)

    async def _next(self, selection: Selection, after: int, last: int) -> list[HeldMessage]:
        parameters = selection.parameters() | {"after": after, "last": last, "limit": REPLAY_ROWS}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._queries["next_held"], parameters, prepare=False)
            return [HeldMessage(*row) for row in await cursor.fetchall()]
