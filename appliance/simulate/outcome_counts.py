"""Counts of the outcomes of a run's messages, shown while it runs and at its end. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from appliance.counted import counted
from appliance.reading import Reason
from appliance.simulate.devices import Behaviour, SimulatedMessage


@dataclass(slots=True)
class OutcomeCounts:
    """Counts of one run. ``refused`` is by the broker's reason code, ``expected`` by the appliance's reason."""

    sent: int = 0
    acknowledged: int = 0
    seconds: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    expected: Counter[Reason] = field(default_factory=Counter)
    spoken: Counter[Behaviour] = field(default_factory=Counter)

    def send(self, behaviour: Behaviour) -> None:
        """Count a sent message."""
        self.sent += 1
        self.spoken[behaviour] += 1

    def acknowledge(self, message: SimulatedMessage) -> None:
        """Count a message that the broker acknowledged."""
        self.acknowledged += 1
        if message.refusal is not None:
            self.expected[message.refusal] += 1

    def refuse(self, code: str, count: int = 1) -> None:
        """Count messages that the broker refused."""
        self.refused[code] += count

    @property
    def open(self) -> int:
        """Messages without an answer."""
        return self.sent - self.acknowledged - self.refused.total()

    @property
    def rate(self) -> float:
        """Acknowledged messages a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    def progress(self) -> str:
        """Return one line for a terminal while it runs."""
        line = f"{self.seconds:6.1f} s  {self.sent:,} sent  {self.acknowledged:,} acknowledged  {self.rate:,.0f}/s"
        return f"{line}  {self.refused.total():,} refused by the broker" if self.refused else line

    def summary(self) -> str:
        """Return a few lines for people at the end."""
        answered = f"{self.acknowledged:,} acknowledged by the broker ({self.rate:,.0f}/s)"
        lines = [
            f"{counted(self.sent, 'message')} sent in {self.seconds:.1f} s, {answered}",
            f"  by behaviour: {_listed({name.value: count for name, count in self.spoken.items()})}",
        ]
        if self.expected:
            earned = _listed({reason.value: count for reason, count in self.expected.items()})
            lines.append(f"  of these, quarantine should show: {earned}")
        if self.refused:
            lines.append(f"  refused by the broker: {_listed(self.refused)}")
        if self.open:
            lines.append(f"  without an answer: {self.open:,}")
        return "\n".join(lines)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
