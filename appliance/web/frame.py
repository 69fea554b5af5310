"""What stands around every page: navigation, and the state of the live line and the banner."""

from dataclasses import dataclass

from appliance.web.auth import Viewer


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation; ``compact`` also stands in the phone's bar at the bottom."""

    label: str
    path: str
    icon: str
    compact: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A titled part of the navigation."""

    title: str
    entries: tuple[Entry, ...]


NAVIGATION: tuple[Group, ...] = (Group("Monitor", (Entry("Overview", "/", "i-layout-dashboard", compact=True),)),)
"""All that exists. What a viewer may not use is left out by :func:`navigation`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of one answer. ``now`` is its time, in seconds since 1970-01-01 UTC."""

    viewer: Viewer
    now: float
    path: str
    live_page: str | None = None
    """Which page's fragments the WebSocket sends; None: the page does not change by itself."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The navigation of this viewer."""
        return NAVIGATION
