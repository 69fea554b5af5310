"""Input of the live view in tests: a clock that moves when told, and a committed batch."""

from appliance.ingest.summary import BatchSummary, LastReading
from appliance.reading import Kind
from tests.support.clock import TrustedClock


class Steady(TrustedClock):
    """A clock that moves when told: 5,000 s since boot at 100,000 s since 1970."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return 100_000.0 + self.passed

    def monotonic(self) -> float:
        return 5_000.0 + self.passed


def batch(device: str = "pump-1", messages: int = 1) -> BatchSummary:
    """Return a committed batch with one shown reading."""
    reading = LastReading("acme", device, 1_795_000_000.0, 1_795_000_000.5, Kind.TELEMETRY, {"temperature": -11.8})
    return BatchSummary(1_795_000_001.0, messages, messages, 0, 0, 0, {}, [reading])
