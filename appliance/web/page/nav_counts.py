"""The numbers beside the lines of the navigation: how many devices there are, what waits for a person. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NavCount:
    """One number: ``shown`` after it, or else ``spoken``, a word that only a screen reader says."""

    number: int
    shown: str = ""
    spoken: str = ""

    @property
    def due(self) -> bool:
        """Whether somebody has something to do, which then stands there in words."""
        return bool(self.shown)


@dataclass(frozen=True, slots=True)
class NavCounts:
    """Of one tenant, or of all of them."""

    devices: int
    """All that are registered."""
    waiting: int
    """Devices that wait for approval."""
    held: int
    """Messages that wait in quarantine for a decision."""

    def beside(self, path: str) -> NavCount | None:
        """What stands beside the line that leads to ``path``; None: nothing."""
        if path == "/devices" and self.waiting:
            return NavCount(self.waiting, shown="waiting")
        if path == "/devices" and self.devices:
            return NavCount(self.devices, spoken="in all")
        if path == "/quarantine" and self.held:
            return NavCount(self.held, spoken="held")
        return None
