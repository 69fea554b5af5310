"""The viewer of a request, and which viewers an endpoint admits.

Every endpoint names its audience with :func:`allow`; the gate (:mod:`appliance.web.access.gate`) checks it before the
endpoint runs. Deny by default: an endpoint that names nobody admits nobody, and a test finds it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import tzinfo
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from quart import g

from appliance.people.role import Role, Scope, Theme

READERS = frozenset(Role)
"""Every role: everybody who is signed in."""
ANYBODY_SIGNED_IN = READERS
RESPONDERS = frozenset({Role.RESPONDER, Role.ADMIN, Role.OPERATOR})
"""Roles that acknowledge, close and silence alerts."""
ADMINS = frozenset({Role.ADMIN, Role.OPERATOR})
"""Roles that administer a tenant."""
OPERATORS = frozenset({Role.OPERATOR})


class Public(Enum):
    """The audience of an endpoint that needs no session."""

    OPEN = "open"
    """Machines, and files without anybody's data. No cookie is read, so no CSRF token is needed."""
    SIGN_IN_PAGES = "sign-in pages"
    """The pages before the sign-in: their forms carry a CSRF token that is bound to the browser."""


OPEN, SIGN_IN_PAGES = Public.OPEN, Public.SIGN_IN_PAGES

Allowed = frozenset[Role] | Public


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person who is signed in, by session or by API token."""

    user_id: UUID
    email: str
    name: str
    """Empty if not given."""
    role: Role
    tenant_id: str | None
    """None: an operator, who sees all tenants."""
    zone: tzinfo | None
    """The zone of their profile, else of their tenant; None is the machine's own."""
    theme: Theme
    session_id: UUID | None
    """None for a program with a token."""
    csrf: str
    """The token that a form or a header must carry with every change; empty for an API token, which needs none."""
    has_second_factor: bool = False
    shortcuts: bool = True
    """Whether keyboard shortcuts are on."""
    token: str | None = None
    """The name of the API token; None for a session."""
    scopes: frozenset[Scope] | None = None
    """The scopes of the token; None for a session, which may do whatever its owner may."""

    @property
    def shown_name(self) -> str:
        """Return the name to show."""
        return self.name or self.email

    @property
    def is_operator(self) -> bool:
        """Return whether the viewer sees all tenants."""
        return self.tenant_id is None


def may_change(who: Viewer) -> bool:
    """Return whether the viewer may change a tenant's data; pages leave out what the viewer may not do."""
    return who.role in ADMINS


F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__allowed__"


def allow(*who: Role | Collection[Role] | Public) -> Callable[[F], F]:
    """Name the audience of the endpoint: roles, or OPEN, or SIGN_IN_PAGES. Goes below the route's own decorator."""
    allowed = _allowed(who)

    def mark(endpoint: F) -> F:
        setattr(endpoint, _MARK, allowed)
        return endpoint

    return mark


def allowed_of(endpoint: Callable[..., Any]) -> Allowed:
    """Return the audience of an endpoint; nobody, if it does not name one."""
    allowed: Allowed = getattr(endpoint, _MARK, frozenset())
    return allowed


def viewer() -> Viewer:
    """Return the viewer whom the gate admitted. Raises AttributeError on an endpoint that needs no session."""
    found: Viewer = g.viewer
    return found


def viewer_if_any() -> Viewer | None:
    """Return the viewer that the gate identified, or None: for error pages."""
    found: Viewer | None = g.get("viewer")
    return found


def _allowed(who: Collection[Role | Collection[Role] | Public]) -> Allowed:
    roles: set[Role] = set()
    for one in who:
        if isinstance(one, Public):
            if len(who) > 1:
                raise ValueError(f"{one.name} cannot be combined with others")
            return one
        roles |= {one} if isinstance(one, Role) else set(one)
    return frozenset(roles)
