"""Hours of devices in which readings were stored: queued, so that they are rolled up anew (``appliance.history``).

The queue is written with the states of devices, a second behind their readings at most. Nearly all readings fall into
the present hour, which needs one row a device: it is due when the hour is over, so one row stands for all readings that
follow in it. Any other hour is queued whenever a reading falls into it, for a row written before may be gone by now.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

HOUR = 3600 * 1_000_000
"""Microseconds."""
MAX_KNOWN = 200_000
"""Devices remembered as queued for the present hour; past that they are queued again, which costs a row each."""

HourKey = tuple[str, str]


class RollupOwner(Protocol):
    """The device of a reading: :class:`appliance.devices.live.state.DeviceState`."""

    tenant_id: str
    device_id: str


class DatedReading(Protocol):
    """A stored reading: :class:`appliance.ingest.batch.Reading`."""

    @property
    def state(self) -> RollupOwner:
        """Its device."""
        ...

    @property
    def ts(self) -> int:
        """Its time, in microseconds since 1970 UTC."""
        ...


class RollupQueue:
    """The hours of devices that are to be written."""

    def __init__(self) -> None:
        self._hour = 0
        self._known: set[HourKey] = set()
        self._due: dict[tuple[str, str, int], None] = {}
        self._writing: list[tuple[str, str, int]] = []

    def stored(
        self,
        readings: Sequence[DatedReading],
        span: tuple[int, int] | None,
        talking: Iterable[RollupOwner],
        now: int,
        unwritten: Callable[[], Iterable[RollupOwner]],
    ) -> None:
        """Queue the hours of committed ``readings``, all within ``span``.

        ``talking`` are the devices that talk since the last write. In a new hour all devices whose state is
        ``unwritten`` are queued: those that talk on are not in ``talking`` again.
        """
        if not readings or span is None:
            return
        hour = now - now % HOUR
        if hour != self._hour:
            self._hour = hour
            self._known.clear()
            talking = unwritten()
        for owner in talking:
            key = (owner.tenant_id, owner.device_id)
            if key not in self._known:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known.add(key)
                self._due[*key, hour] = None
        if span[0] < hour or span[1] >= hour + HOUR:
            for reading in readings:
                own = reading.ts - reading.ts % HOUR
                if own != hour:
                    self._due[reading.state.tenant_id, reading.state.device_id, own] = None

    def take(self) -> None:
        """Begin a write of what is due; ``written`` or ``give_back`` ends it."""
        self._writing += self._due
        self._due = {}

    def rows(self) -> list[tuple[str, str, int]]:
        """Return tenant, device and hour (microseconds since 1970 UTC) of what is being written."""
        return self._writing

    def written(self) -> None:
        """End the write: it was committed."""
        self._writing = []

    def give_back(self) -> None:
        """End the write: it was not committed, and all of it is due again."""
        self._due = dict.fromkeys(self._writing) | self._due
        self._writing = []
