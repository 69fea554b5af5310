"""What stands around every page: navigation for its viewer, the tenant shown, and the live line."""

from dataclasses import dataclass
from urllib.parse import urlencode

from appliance.people.role import Role
from appliance.web.access.auth import ADMINS, OPERATORS, READERS, Viewer
from appliance.web.page.nav_counts import NavCount, NavCounts


@dataclass(frozen=True, slots=True)
class NavEntry:
    """A line of the navigation, for ``roles``; ``compact``: also in the phone's bar; ``key`` after g goes there.

    ``counted``: a number stands beside it, see :class:`NavCounts`.
    """

    label: str
    path: str
    icon: str
    roles: frozenset[Role] = READERS
    compact: bool = False
    key: str | None = None
    counted: bool = False


@dataclass(frozen=True, slots=True)
class NavGroup:
    """A titled part of the navigation."""

    title: str
    entries: tuple[NavEntry, ...]


NAVIGATION: tuple[NavGroup, ...] = (
    NavGroup(
        "Monitor",
        (
            NavEntry("Overview", "/", "i-layout-dashboard", compact=True, key="o"),
            NavEntry("Devices", "/devices", "i-cpu", compact=True, key="d", counted=True),
            NavEntry("Quarantine", "/quarantine", "i-shield-alert", compact=True, key="q", counted=True),
        ),
    ),
    NavGroup(
        "Configure",
        (
            NavEntry("Sites", "/sites", "i-map-pin", compact=True, key="s"),
            NavEntry("Metrics", "/metric-names", "i-activity", key="m"),
        ),
    ),
    NavGroup(
        "Account",
        (
            NavEntry("Users and tokens", "/users", "i-users", roles=ADMINS, key="u"),
            NavEntry("Audit", "/audit", "i-scroll-text", roles=ADMINS),
        ),
    ),
    NavGroup(
        "Operator",
        (
            NavEntry("Tenants", "/tenants", "i-building-2", roles=OPERATORS, key="t"),
            NavEntry("System", "/system", "i-server", roles=OPERATORS, key="y"),
        ),
    ),
)
"""All that exists. What a viewer may not use is left out, not greyed."""

MORE = NavEntry("More", "/more", "i-menu", compact=True)
"""The last place of the phone's bar: a page with everything else."""

_PEOPLE = {Role.OPERATOR: "Operator", Role.ADMIN: "Admin", Role.RESPONDER: "Responder", Role.VIEWER: "Viewer"}


def navigation(viewer: Viewer) -> tuple[NavGroup, ...]:
    """The navigation of this viewer."""
    groups = (
        NavGroup(group.title, tuple(entry for entry in group.entries if viewer.role in entry.roles))
        for group in NAVIGATION
    )
    return tuple(group for group in groups if group.entries)


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of one answer. ``now`` is its time, in seconds since 1970-01-01 UTC."""

    viewer: Viewer
    now: float
    path: str
    live_page: str | None = None
    """Which page's fragments the WebSocket sends; None: the page does not change by itself."""
    tenant: str | None = None
    """Of operators: the one tenant shown; None shows all."""
    toast: str | None = None
    """The result of what was done just now, in one sentence."""
    nav_counts: NavCounts | None = None
    """What the navigation counts; None leaves the numbers out."""

    @property
    def signed_in(self) -> bool:
        """Whether it is somebody: an error page may be shown to nobody in particular, without navigation."""
        return bool(self.viewer.email)

    @property
    def groups(self) -> tuple[NavGroup, ...]:
        """The navigation of this viewer."""
        return navigation(self.viewer) if self.signed_in else ()

    @property
    def compact(self) -> tuple[NavEntry, ...]:
        """The phone's bar: four places and More."""
        entries = tuple(entry for group in self.groups for entry in group.entries if entry.compact)
        return (*entries[:4], MORE) if entries else ()

    @property
    def below_more(self) -> bool:
        """Whether the page is one of those that have no place of their own in the phone's bar."""
        lines = [entry for group in self.groups for entry in group.entries]
        known = any(map(self.here, lines)) or self.path.startswith("/profile")
        return known and not any(map(self.here, self.compact))

    @property
    def role(self) -> str:
        """The viewer's role in words."""
        return _PEOPLE[self.viewer.role]

    @property
    def initials(self) -> str:
        """Two letters for the viewer's picture."""
        words = [word for word in self.viewer.shown_name.replace("@", " ").replace(".", " ").split() if word]
        return "".join(word[0] for word in words[:2]).upper()

    def address(self, entry: NavEntry) -> str:
        """Where a line of the navigation leads; an operator who looks at one tenant goes on looking at it."""
        if self.tenant is None or entry.roles == OPERATORS:
            return entry.path
        return f"{entry.path}?{urlencode({'tenant': self.tenant})}"

    def nav_count(self, entry: NavEntry) -> NavCount | None:
        """The number beside a line of the navigation."""
        return None if self.nav_counts is None else self.nav_counts.beside(entry.path)

    def here(self, entry: NavEntry) -> bool:
        """Whether the page belongs to this line of the navigation."""
        return self.path == entry.path or (entry.path != "/" and self.path.startswith(f"{entry.path}/"))
