"""The banners of every page: what its viewer has to know before all else, most severe first, at most two. Pure.

A new one is a function and its place in the order of :func:`banners_of`.
"""

from dataclasses import dataclass
from datetime import timedelta

from appliance.devices.tenants import OWN_TENANT
from appliance.web.access.auth import ADMINS, Viewer
from appliance.web.page import formats
from appliance.web.page.nav_counts import NavCounts
from appliance.web.page.paths import of_tenant

MOST = 2
"""More would push the page away; what they say shows when those before are gone."""


@dataclass(frozen=True, slots=True)
class Banner:
    """One line over the page, with one button at most."""

    title: str
    text: str = ""
    icon: str = "i-triangle-alert"
    label: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What banners are made of, as far as it is known."""

    who: Viewer
    tenant: str | None
    """The tenant of the page; None: an operator sees all."""
    counts: NavCounts | None
    """None while Postgres is not reachable."""
    trouble: str | None
    """What keeps the appliance from serving, in a sentence."""
    clock_in_doubt: bool
    now: float
    """Seconds since 1970-01-01 UTC."""
    notices_wait: timedelta
    """How long a notice waits for a way out."""


def banners_of(state: State) -> tuple[Banner, ...]:
    """Return the banners of a page."""
    in_order = (
        _trouble(state),
        _suspended(state),
        _subscription(state, stopped=True),
        _restored(state),
        _clock(state),
        _way_out(state),
        _subscription(state, stopped=False),
        _failing(state),
    )
    return tuple(banner for banner in in_order if banner is not None)[:MOST]


def _trouble(state: State) -> Banner | None:
    if state.trouble is None:
        return None
    return Banner(state.trouble, **(_system() if state.who.is_operator else {}))


def _suspended(state: State) -> Banner | None:
    if state.counts is None or not state.counts.suspended or state.tenant in (None, OWN_TENANT):
        return None
    effect = "Messages of its devices are refused, and not held for replay."
    if state.who.is_operator:
        return Banner(f"{state.tenant} is suspended.", effect, label="View tenant", href=f"/tenants/{state.tenant}")
    return Banner("Your organisation is suspended.", f"{effect} Ask the operator of this appliance.")


def _subscription(state: State, *, stopped: bool) -> Banner | None:
    """Return what is said of a subscription that is not served, or of one in its grace, to whoever can help."""
    notice = None if state.counts is None else state.counts.subscription
    if notice is None or notice.stopped is not stopped:
        return None
    title, text, who = notice.title, notice.text, state.who
    if who.is_operator and notice.held:
        page = f"/tenants/{state.tenant}/subscriptions/{notice.subscription_id}"
        return Banner(title, text, "i-calendar-clock", "View subscription", page)
    if notice.held:
        return Banner(title, f"{text} Ask the operator of this appliance.", "i-calendar-clock")
    if who.role not in ADMINS:
        return Banner(title, f"{text} Ask an admin of your organisation to renew it.", "i-calendar-clock")
    page = of_tenant(f"/subscriptions/{notice.subscription_id}/renew", who, state.tenant)
    return Banner(title, text, "i-calendar-clock", "Renew", page)


def _clock(state: State) -> Banner | None:
    if not (state.clock_in_doubt and state.who.is_operator):
        return None
    text = "Nothing is dropped and nothing ends until it is right."
    return Banner("The machine's clock is in doubt.", text, **_system())


def _restored(state: State) -> Banner | None:
    made_at = None if state.counts is None else state.counts.backup_made_at
    if made_at is None:
        return None
    title = f"Restored from the backup of {formats.day_time(made_at.timestamp(), state.who.zone)}."
    return Banner(title, "Notices wait until you say that the old machine is off.", "i-archive-restore", **_system())


def _way_out(state: State) -> Banner | None:
    out = None if state.counts is None else state.counts.way_out
    if out is None:
        return None
    href = of_tenant("/deliveries", state.who, state.tenant, state="waiting")
    title, text = out.title(state.now, state.who.zone), out.text(state.notices_wait)
    return Banner(title, text, "i-unplug", "View deliveries", href)


def _failing(state: State) -> Banner | None:
    failing = 0 if state.counts is None else state.counts.failing
    if not failing or (state.counts is not None and state.counts.way_out is not None):
        return None  # those that reach nobody are told of by the one before
    one = failing == 1
    title = "An integration does not deliver its notices." if one else f"{failing:,} integrations do not deliver."
    return Banner(title, label="View integrations", href=of_tenant("/integrations", state.who, state.tenant))


def _system() -> dict[str, str]:
    return {"label": "View System", "href": "/system"}
