"""What the System page and its API need from the rest of the process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.broker.refusals import BrokerRefusal
from appliance.diagnostics.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SystemPort:
    """The functions and facts that are handed in."""

    snapshot: Snapshot
    """What the process tells of itself: tasks, children, memory, disk."""
    broker_refusals: Callable[[str | None, str | None], Sequence[BrokerRefusal]]
    """What the broker refused lately, newest first: of all, of a tenant, or of a device (tenant id, device id)."""
