"""INTEGRATION_FAILING: a receiver that a tenant set up does not get its notices. One alert an integration.

Of the appliance's own integrations it is a SYSTEM alert. Where nothing gets out at all, it is no receiver's fault: that
is one SYSTEM alert, beside the integrations that had failed before.

An integration that answers and refuses fails once its circuit breaker is open; one that nobody answers for, somewhat
later, so that it is known by then whether others are reached. A single failed try that nothing follows counts after
FAILING_FOR. What a receiver said is gone fails until a person changes or deletes it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import STATEMENTS
from appliance.db.trio_psycopg import Connection
from appliance.devices.tenants import OWN_TENANT
from appliance.severity import Severity

KEEPER = "integrations"
"""The keeper of what is said of integrations."""
NO_WAY_OUT = "system:no_way_out"
FAILING_FOR = timedelta(minutes=10)
"""Without a delivery since the first failed try for as long, it fails although the breaker is closed."""
CUT_OFF_FOR = timedelta(minutes=2)
"""Time without reaching anybody after which nothing gets out at all."""
UNREACHED_FOR = timedelta(minutes=3)
"""The same for one integration: later, for the others tell whether it is the receiver or the way out."""
LEAST_CUT_OFF = 2
"""Integrations that must be cut off: of one alone nobody knows whose fault it is."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """An integration with a try, enabled or disabled by the appliance, and how the newest ones went."""

    tenant_id: str
    integration_id: UUID
    name: str
    gone: bool
    """Whether the appliance disabled it, since its receiver is gone."""
    breaker_open: bool
    failing_since: datetime | None
    unreachable_since: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    error: str | None

    @property
    def fingerprint(self) -> str:
        """Return what tells its alert from all others."""
        return f"integration:{self.integration_id}"

    @property
    def reached_at(self) -> datetime | None:
        """Return when its receiver was last known to be reached."""
        failed = self.last_failure_at if self.unreachable_since is None else None
        return max((at for at in (self.last_success_at, failed) if at is not None), default=None)

    def fails(self, settled: datetime) -> bool:
        """Return whether it does not deliver, taken by itself."""
        if self.gone:
            return True
        if self.unreachable_since is not None:
            return self.unreachable_since <= settled - UNREACHED_FOR
        return self.breaker_open or (self.failing_since is not None and self.failing_since <= settled - FAILING_FOR)


async def integration_conditions(connection: Connection[Any], settled: datetime) -> list[Condition]:
    """Return what holds of all integrations; times are judged at ``settled``."""
    cursor = await connection.execute(STATEMENTS["select_kept"], {"keeper": KEEPER})
    said = {fingerprint for _, fingerprint in await cursor.fetchall()}
    cursor = await connection.execute(STATEMENTS["select_attempted"])
    attempted = [Attempted(*row) for row in await cursor.fetchall()]
    return conditions_of(attempted, said, settled)


def conditions_of(attempted: Sequence[Attempted], said: Collection[str], settled: datetime) -> list[Condition]:
    """Return what holds of integrations. ``said``: the fingerprints of what held before."""
    cut_off = cut_off_since(attempted, settled)
    found = []
    if cut_off is not None:
        details = {"since": cut_off.isoformat()}
        text = "No notice gets out: none of the receivers is reached"
        found.append(
            Condition(OWN_TENANT, NO_WAY_OUT, AlertType.SYSTEM, Severity.HIGH, text, details, started_at=cut_off)
        )
    for one in attempted:
        excused = cut_off is not None and one.unreachable_since is not None and one.fingerprint not in said
        if one.fails(settled) and not excused:
            found.append(_condition(one))
    return found


def cut_off_since(attempted: Sequence[Attempted], settled: datetime) -> datetime | None:
    """Return since when nothing gets out, None while anything does.

    It is so when several integrations have reached nobody for CUT_OFF_FOR, and nobody was reached since the last of
    them lost its receiver; one that nothing was sent to meanwhile says nothing about it.
    """
    lost = [one.unreachable_since for one in attempted if not one.gone and one.unreachable_since is not None]
    lasting = [at for at in lost if at <= settled - CUT_OFF_FOR]
    if len(lasting) < LEAST_CUT_OFF:
        return None
    since = max(lasting)
    reached = any(one.reached_at is not None and one.reached_at >= since for one in attempted)
    return None if reached else since


def _condition(one: Attempted) -> Condition:
    own = one.tenant_id == OWN_TENANT
    if one.gone:
        text = f"{one.name} was disabled: its receiver says that it is gone"
    elif one.unreachable_since is not None:
        text = f"{one.name} is not reached: its notices wait"
    else:
        text = f"{one.name} does not take the notices that it is sent"
    return Condition(
        one.tenant_id,
        one.fingerprint,
        AlertType.SYSTEM if own else AlertType.INTEGRATION_FAILING,
        Severity.HIGH,
        text,
        {"integration_id": str(one.integration_id), "integration": one.name, "cause": one.error},
        count=1,
        started_at=one.failing_since,
    )
