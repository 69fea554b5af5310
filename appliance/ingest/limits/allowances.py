"""Allowances across restarts: read with the states of devices and the rules of tenants, written with the batches.

Enters: states of devices and rules of tenants, as the registry has read them, and the levels that the limiter holds.
Leaves: what the limiter asks for when it first needs an allowance, and what is written beside the readings. Never: a
query in the message path.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.state import DeviceState
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import TenantRules
from appliance.ingest.batch import MICROSECONDS, BatchOutcome
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import NotedAllowance, bucket_key

WRITE_INTERVAL = 1.0
"""Seconds between two writes of the allowances of tenants."""

log = structlog.get_logger(__name__)


class NotedAllowances:
    """Answers the limiter from memory, by service time."""

    def __init__(self, states: StateBook, tenant: Callable[[str], TenantRules | None], clock: Clock) -> None:
        self._states = states
        self._tenant = tenant
        self._clock = clock

    def get(self, tenant_id: str, device_id: str | None) -> NotedAllowance | None:
        """Return what was noted of a device or, without a device id, of a tenant; None while it is not in memory."""
        owner: TenantRules | DeviceState | None
        owner = self._tenant(tenant_id) if device_id is None else self._states.get((tenant_id, device_id))
        if owner is None or owner.registered_at == 0:
            return None
        now = round(self._clock.now() * MICROSECONDS)
        full_in = None if owner.allowance_full_at == 0 else (owner.allowance_full_at - now) * 1000
        return NotedAllowance(full_in, (now - owner.registered_at) * 1000)


class AllowanceNotes:
    """Brings states up to the levels that the limiter holds, when they are written. ``longest``: seconds at most."""

    def __init__(self, limiter: Limiter, clock: Clock, longest: float) -> None:
        self._limiter = limiter
        self._clock = clock
        self._longest = round(longest * MICROSECONDS)

    def note(self, states: Iterable[DeviceState]) -> int:
        """Note the allowances of ``states``; return the latest time at which one can be full."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        since = round(now * MICROSECONDS)
        for state in states:
            full_in = self._limiter.note(bucket_key(state.tenant_id, state.device_id), monotonic)
            if full_in is not None:
                state.allowance_full_at = since + full_in // 1000
        return since + self._longest


class TenantAllowances:
    """An observer of batches: writes the allowances of tenants whose devices share a limit."""

    name = "tenant allowances"

    def __init__(self, limiter: Limiter, clock: Clock, longest: float) -> None:
        self._limiter = limiter
        self._clock = clock
        self._longest = round(longest * MICROSECONDS)
        self._statement = statements.load("ingest")["upsert_tenant_allowances"]
        self._talking: set[str] = set()
        self._written_at = 0

    def due(self, now: int) -> bool:
        """Return whether tenants have talked and the interval has passed since the last write."""
        return bool(self._talking) and self._interval_passed(now)

    def prepare(self, outcome: BatchOutcome, now: int) -> "TenantAllowanceWrite | None":
        """Note whose devices talked; take the levels that moved, if the interval has passed."""
        self._talking.update(outcome.tenants())
        if not self._interval_passed(now):
            return None
        monotonic = self._clock.monotonic()
        levels = {}
        for tenant_id in sorted(self._talking):
            full_in = self._limiter.note_tenant(tenant_id, monotonic)
            if full_in is not None:
                levels[tenant_id] = now + full_in // 1000
        talked, self._talking = self._talking, set()
        self._written_at = now
        if not levels:
            return None
        parameters = {"tenants": list(levels), "levels": list(levels.values()), "latest": now + self._longest}
        return TenantAllowanceWrite(self._statement, parameters, lambda: self._talking.update(talked))

    async def load(self, connection: Connection[Any], outcome: BatchOutcome) -> None:
        """Do nothing: the limiter holds the levels."""

    def missed(self, outcome: BatchOutcome) -> None:
        """Do nothing: a later write has the levels of then."""

    def shed(self, error: Exception) -> None:
        """Do nothing more: what was given back is written with a later batch."""
        log.debug("tenant allowances wait for a later batch", error=str(error).strip())

    def _interval_passed(self, now: int) -> bool:
        """Return whether it is time for a write; a clock that was set back makes it time, too."""
        return not 0 <= now - self._written_at < WRITE_INTERVAL * MICROSECONDS


class TenantAllowanceWrite:
    """The levels that one try of a batch writes."""

    __slots__ = ("_give_back", "_parameters", "_statement")

    def __init__(self, statement: str, parameters: Mapping[str, Any], give_back: Callable[[], None]) -> None:
        self._statement = statement
        self._parameters = parameters
        self._give_back = give_back

    async def write(self, connection: Connection[Any]) -> None:
        """Queue the statement; its rows are in order of tenants, so that two processes never deadlock."""
        await connection.execute(self._statement, self._parameters)

    def committed(self) -> None:
        """Do nothing: the limiter holds the levels."""

    def given_back(self) -> None:
        """Leave the levels to a later write."""
        self._give_back()
