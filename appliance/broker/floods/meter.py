"""How much of each tenant and device was refused lately. Pure; times are monotonic seconds.

What the limits of a device let through and a later check refuses, a typo in the name of a metric, is no flood of it.
Counts begin anew with each window. A device that finds no room is counted in the sum of its tenant alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from appliance.ingest.batch import RefusedSubmission

WINDOW_SECONDS = 10.0
MAX_MESSAGES = 5_000
"""Refused messages within a window that make a flood: what a few fast connections send while they are noticed is some
tens of times as much, and the broker queues 200,000 for all."""
MAX_BYTES = 4 * 1024 * 1024
"""Bytes of refused payloads within a window that make a flood. A broker takes 200 MB a second of one, and queues 256
MiB for all: it has to be noticed by what is seen of it in a moment."""
MOST_ALLOWED = 20_000
"""Messages of one device within a window, whatever its limits: a tenth of what the broker queues for all."""
MAX_SENDERS = 20_000
"""Devices counted within a window, of all tenants."""


@dataclass(slots=True)
class Refused:
    """What was refused within a window."""

    messages: int = 0
    size: int = 0
    """Bytes of payload."""

    def add(self, size: int) -> None:
        """Count one message."""
        self.messages += 1
        self.size += size

    @property
    def floods(self) -> bool:
        """Return whether it is too much."""
        return self.messages > MAX_MESSAGES or self.size > MAX_BYTES

    def beyond(self, allowed: int) -> "Refused":
        """Return what of it is beyond ``allowed`` messages, all of them taken to be of one size."""
        beyond = max(0, self.messages - allowed)
        return Refused(beyond, self.size * beyond // max(1, self.messages))


@dataclass(slots=True)
class TenantRefused:
    """What was refused of a tenant within a window: in all, and by device."""

    total: Refused = field(default_factory=Refused)
    devices: dict[str, Refused] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flood:
    """More than a device, or all devices of a tenant together, may have refused within a window."""

    tenant_id: str
    device_id: str | None
    """None: no single one, and those that sent are in ``senders``."""
    refused: Refused
    senders: Mapping[str, Refused] = field(default_factory=dict)


class FloodMeter:
    """Counts refused messages by tenant and device.

    ``allowed`` says how many messages the limits let through of one device within so many seconds. Beyond
    MOST_ALLOWED that does not count.
    """

    def __init__(self, allowed: Callable[[float], float]) -> None:
        self._allowed = allowed
        self._lasts = 0.0
        """Seconds since the window began, as of the last message."""
        self._begun = float("-inf")
        self._tenants: dict[str, TenantRefused] = {}
        self._senders = 0

    def note(self, refused: Sequence[RefusedSubmission], now: float) -> bool:
        """Count messages that were refused; return whether a tenant of theirs floods."""
        if now - self._begun >= WINDOW_SECONDS:
            self._begun, self._tenants, self._senders = now, {}, 0
        self._lasts = now - self._begun
        flooding = False
        for one in refused:
            flooding |= self._count(one.topic, len(one.payload))
        return flooding

    @property
    def allowed(self) -> int:
        """Messages that the limits have let through of one device since the window began."""
        return round(min(self._allowed(self._lasts), MOST_ALLOWED))

    def floods(self) -> Iterator[Flood]:
        """Yield what is too much in this window: of a tenant its devices that flood, else all together."""
        for tenant_id, tenant in self._tenants.items():
            if not tenant.total.floods:
                continue
            single = [(device, one) for device, one in tenant.devices.items() if self._floods(one)]
            for device_id, one in single:
                yield Flood(tenant_id, device_id, one)
            if not single:
                yield Flood(tenant_id, None, tenant.total, dict(tenant.devices))

    def _floods(self, device: Refused) -> bool:
        return device.size > MAX_BYTES or device.messages > max(MAX_MESSAGES, self.allowed)

    def _count(self, topic: str, size: int) -> bool:
        levels = topic.split("/", 4)
        if len(levels) < 4:
            return False  # nobody may publish there
        tenant, device_id = self._tenants.setdefault(levels[1], TenantRefused()), levels[3]
        tenant.total.add(size)
        device = tenant.devices.get(device_id)
        if device is None and self._senders < MAX_SENDERS and len(device_id) <= 64:
            self._senders += 1
            device = tenant.devices[device_id] = Refused()
        if device is not None:
            device.add(size)
        return tenant.total.floods
