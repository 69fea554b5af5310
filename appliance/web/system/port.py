"""The port of System: what its pages and API need from the rest of the process."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from appliance.broker.refusals import BrokerRefusal
from appliance.diagnostics.snapshot import Snapshot
from appliance.web.system.clock import ServiceClock


@dataclass(frozen=True, slots=True)
class SystemPort:
    """Functions and facts handed in by the supervisor."""

    snapshot: Snapshot
    """The state of the process: tasks, children, memory, disk."""
    clock: ServiceClock
    """The clock of the process, which an operator may confirm."""
    broker_refusals: Callable[[str | None, str | None], Sequence[BrokerRefusal]]
    """Recent refusals by the broker, newest first: all, those of a tenant, or of a device (tenant id, device id)."""
    support_bundle: Callable[[], Awaitable[bytes]]
    """Makes the file for support, a ZIP archive. Raises Busy when it cannot be made now."""
    back_up: Callable[[], None] | None
    """Has a backup made now; raises Conflict while one is made. None where no folder is configured."""
