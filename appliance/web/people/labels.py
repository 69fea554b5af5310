"""Labels of people's pages: roles, states, scopes, themes, browsers and waits."""

from appliance.people.role import Role, Scope, Theme
from appliance.people.throttle import ThrottleWait
from appliance.people.users import UserState
from appliance.web.page import formats

ROLES = {
    Role.OPERATOR: ("Operator", "Everything, in all tenants"),
    Role.ADMIN: ("Admin", "Users, routes, rules, renewals and devices"),
    Role.RESPONDER: ("Responder", "Acknowledges, closes and silences alerts"),
    Role.VIEWER: ("Viewer", "Views everything, changes nothing"),
}
"""The label of a role, and what it may do."""
STATES = (
    (UserState.ACTIVE.value, "Active"),
    (UserState.INVITED.value, "Invited"),
    (UserState.DISABLED.value, "Disabled"),
)
SCOPES = (
    (Scope.READ, "Read", "View what you can view"),
    (Scope.WRITE, "Write", "Change what you can change"),
    (Scope.INGEST, "Ingest", "Send messages of any device, if you are an admin"),
)
THEMES = ((Theme.SYSTEM, "System"), (Theme.LIGHT, "Light"), (Theme.DARK, "Dark"))
BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
"""Texts in a User-Agent and names of browsers. The first match counts, because a browser also names later ones."""
SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)  # fmt: skip
"""The same for operating systems."""
MAX_AGENT = 40
"""Characters shown of a User-Agent that names no known browser."""


def browser_of(agent: str | None) -> str:
    """Return the label of a User-Agent, such as ``Firefox on Linux``, or its beginning if its browser is unknown."""
    if not agent:
        return "Unknown"
    browser = next((name for text, name in BROWSERS if text in agent), None)
    system = next((name for text, name in SYSTEMS if text in agent), None)
    if browser is None:
        return agent[:MAX_AGENT]
    return browser if system is None else f"{browser} on {system}"


def wait_label(wait: ThrottleWait, now: float) -> str:
    """Return the message for too many wrong tries, with the time when the next one is possible.

    ``now`` is in seconds since 1970.
    """
    return f"Too many wrong tries. Try again at {formats.clock_time(now + wait.seconds + 1, None)}."
