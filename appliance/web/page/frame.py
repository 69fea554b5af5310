"""The frame of every page: the navigation for its viewer, the tenant shown, and the live state."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from appliance.devices.tenants import OWN_TENANT
from appliance.people.role import Role
from appliance.web.access.auth import ADMINS, OPERATORS, READERS, Viewer
from appliance.web.page.banners import Banner
from appliance.web.page.nav_counts import NavCount, NavCounts


@dataclass(frozen=True, slots=True)
class NavEntry:
    """An entry of the navigation, for ``roles``; ``compact``: also in the phone's bar; ``key`` after g goes there.

    ``counted``: it has a number, see :class:`NavCounts`; ``alarming``: the number is also in the phone's bar, and is
    sent as soon as it changes. ``tabs``: paths of the pages that are tabs of its own.
    """

    label: str
    path: str
    icon: str
    roles: frozenset[Role] = READERS
    compact: bool = False
    key: str | None = None
    counted: bool = False
    alarming: bool = False
    tabs: tuple[str, ...] = ()


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
            NavEntry("Alerts", "/alerts", "i-bell", compact=True, key="a", counted=True, alarming=True),
            NavEntry("Devices", "/devices", "i-cpu", compact=True, key="d", counted=True),
            NavEntry("Quarantine", "/quarantine", "i-shield-alert", key="q", counted=True),
        ),
    ),
    NavGroup(
        "Configure",
        (
            NavEntry("Rules", "/rules", "i-sliders-horizontal", key="r", tabs=("/maintenance",)),
            NavEntry(
                "Routes",
                "/routes",
                "i-waypoints",
                compact=True,
                key="n",
                counted=True,
                tabs=("/integrations", "/deliveries"),
            ),
            NavEntry("Sites", "/sites", "i-map-pin", compact=True, key="s"),
            NavEntry("Metrics", "/metric-names", "i-activity", key="m"),
        ),
    ),
    NavGroup(
        "Account",
        (
            NavEntry("Subscriptions", "/subscriptions", "i-calendar-clock", key="b"),
            NavEntry("Users and tokens", "/users", "i-users", roles=ADMINS, key="u", tabs=("/export",)),
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
"""All entries. Those that a viewer may not use are left out, not greyed."""

MORE = NavEntry("More", "/more", "i-menu", compact=True)
"""The last entry of the phone's bar: a page with all other entries."""

OF_OWN_TENANT = frozenset({"/alerts", "/routes", "/audit", MORE.path})
"""Entries that the appliance's own tenant has pages for: it has alerts and who is told of them, and nothing else."""

_ROLE_LABELS = {Role.OPERATOR: "Operator", Role.ADMIN: "Admin", Role.RESPONDER: "Responder", Role.VIEWER: "Viewer"}


def navigation(viewer: Viewer) -> tuple[NavGroup, ...]:
    """Return the navigation of this viewer."""
    groups = (
        NavGroup(group.title, tuple(entry for entry in group.entries if viewer.role in entry.roles))
        for group in NAVIGATION
    )
    return tuple(group for group in groups if group.entries)


@dataclass(frozen=True, slots=True)
class Undo:
    """The form behind an Undo."""

    href: str
    fields: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of one answer. ``now`` is its time, in seconds since 1970-01-01 UTC."""

    viewer: Viewer
    now: float
    path: str
    live_page: str | None = None
    """The page whose parts the WebSocket sends; None: the page is not live."""
    tenant: str | None = None
    """For operators: the one tenant shown; None shows all tenants."""
    toast: str | None = None
    """The result of the last action, in one sentence."""
    undo: Undo | None = None
    """What the toast's Undo sends; None: it has none."""
    nav_counts: NavCounts | None = None
    """The numbers of the navigation; None leaves them out."""
    banners: tuple[Banner, ...] = ()
    """What every page says first."""
    sole_tenant: str | None = None
    """For operators who see all tenants: the tenant, if there is exactly one, which need not be chosen."""

    @property
    def signed_in(self) -> bool:
        """Return whether the viewer is signed in: error pages without a viewer have no navigation."""
        return bool(self.viewer.email)

    @property
    def tenant_of_changes(self) -> str | None:
        """Return the tenant that forms of a list belong to; None: an operator has to choose it first."""
        return self.viewer.tenant_id or self.shown_tenant

    @property
    def shown_tenant(self) -> str | None:
        """Return the tenant that an operator's menu names; None: all tenants."""
        return self.tenant or self.sole_tenant

    @property
    def groups(self) -> tuple[NavGroup, ...]:
        """Return the navigation of this viewer."""
        return navigation(self.viewer) if self.signed_in else ()

    @property
    def compact(self) -> tuple[NavEntry, ...]:
        """Return the phone's bar: four entries and More."""
        entries = tuple(entry for group in self.groups for entry in group.entries if entry.compact)
        return (*entries[:4], MORE) if entries else ()

    @property
    def below_more(self) -> bool:
        """Return whether the page belongs to an entry that is not in the phone's bar."""
        entries = [entry for group in self.groups for entry in group.entries]
        known = any(map(self.here, entries)) or self.path.startswith("/profile")
        return known and not any(map(self.here, self.compact))

    @property
    def role(self) -> str:
        """Return the label of the viewer's role."""
        return _ROLE_LABELS[self.viewer.role]

    @property
    def initials(self) -> str:
        """Return two letters for the viewer's avatar."""
        names = [name for name in self.viewer.shown_name.replace("@", " ").replace(".", " ").split() if name]
        return "".join(name[0] for name in names[:2]).upper()

    def address(self, entry: NavEntry) -> str:
        """Return the address of an entry; for an operator who views one tenant, that of the same tenant.

        Where the appliance's own tenant has no such page, it is that of all tenants: nobody can add a device to it.
        """
        leaves = self.tenant == OWN_TENANT and entry.path not in OF_OWN_TENANT
        return entry.path if entry.roles == OPERATORS or leaves else self.tenant_address(entry.path)

    def tenant_address(self, path: str) -> str:
        """Return an address; for an operator who views one tenant, that of the same tenant."""
        return path if self.tenant is None else f"{path}?{urlencode({'tenant': self.tenant})}"

    def nav_count(self, entry: NavEntry) -> NavCount | None:
        """Return the number of an entry, or None if it has none."""
        return None if self.nav_counts is None else self.nav_counts.beside(entry.path)

    def here(self, entry: NavEntry) -> bool:
        """Return whether the page belongs to this entry."""
        paths = (entry.path, *entry.tabs)
        return any(self.path == path or (path != "/" and self.path.startswith(f"{path}/")) for path in paths)
