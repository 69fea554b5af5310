"""What the state of a device needs to know of a stored reading."""

from typing import Any, Protocol


class AcceptedReading(Protocol):
    """A stored reading of the device: :class:`appliance.ingest.batch.Reading`. ``ts`` is in microseconds since 1970."""

    @property
    def ts(self) -> int: ...
    @property
    def adjusted(self) -> bool: ...
    @property
    def late(self) -> bool: ...
    @property
    def nulls(self) -> int: ...
    @property
    def unplaced(self) -> int: ...
    @property
    def metrics(self) -> dict[str, Any]: ...
