"""Who is looking, and who may look where.

Every endpoint says with :func:`allow` whom it lets in; the gate (``web/gate.py``) asks before any of them runs. Deny by
default: an endpoint that says nothing lets nobody in, and a test finds it.
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
"""Everybody who is signed in."""
ANYBODY_SIGNED_IN = READERS
RESPONDERS = frozenset({Role.RESPONDER, Role.ADMIN, Role.OPERATOR})
"""Who acknowledges, closes and silences alerts."""
ADMINS = frozenset({Role.ADMIN, Role.OPERATOR})
"""Who administers a tenant."""
OPERATORS = frozenset({Role.OPERATOR})


class Public(Enum):
    """Whom an endpoint lets in that asks for no session."""

    OPEN = "open"
    """Machines, and files that hold nothing of anybody. No cookie is looked at, so no CSRF token is asked for."""
    DOOR = "door"
    """The pages before the sign-in: their forms carry a CSRF token that is bound to the browser."""


OPEN, DOOR = Public.OPEN, Public.DOOR

Allowed = frozenset[Role] | Public


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever is signed in, by session or by API token."""

    user_id: UUID
    email: str
    name: str
    """Empty if they never said."""
    role: Role
    tenant_id: str | None
    """None: an operator, who sees all tenants."""
    zone: tzinfo | None
    """Of their profile, else of their tenant; None is the machine's."""
    theme: Theme
    session_id: UUID | None
    """None: somebody's program, with a token."""
    csrf: str
    """What a form or a header must carry with every change; empty for a token, which needs none."""
    has_second_factor: bool = False
    shortcuts: bool = True
    """Whether single keys do something on their pages."""
    token: str | None = None
    """The name of the API token; None for a session."""
    scopes: frozenset[Scope] | None = None
    """What the token is good for; None for a session, which is good for all that its owner may."""

    @property
    def shown_name(self) -> str:
        """What people call them."""
        return self.name or self.email

    @property
    def is_operator(self) -> bool:
        """Whether they see all tenants."""
        return self.tenant_id is None


def may_change(who: Viewer) -> bool:
    """Return whether the viewer may change a tenant's data; pages leave out what the viewer may not do."""
    return who.role in ADMINS


F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__allowed__"


def allow(*who: Role | Collection[Role] | Public) -> Callable[[F], F]:
    """Say who may use the endpoint: roles, or one of OPEN and DOOR. Stands below the route's own decorator."""
    allowed = _allowed(who)

    def mark(endpoint: F) -> F:
        setattr(endpoint, _MARK, allowed)
        return endpoint

    return mark


def allowed_of(endpoint: Callable[..., Any]) -> Allowed:
    """Whom an endpoint lets in: nobody, if it does not say."""
    allowed: Allowed = getattr(endpoint, _MARK, frozenset())
    return allowed


def viewer() -> Viewer:
    """The viewer whom the gate has let in. Raises AttributeError on an endpoint that asks for no session."""
    found: Viewer = g.viewer
    return found


def viewer_if_any() -> Viewer | None:
    """The viewer, if the gate has recognised one: for error pages."""
    found: Viewer | None = g.get("viewer")
    return found


def _allowed(who: Collection[Role | Collection[Role] | Public]) -> Allowed:
    roles: set[Role] = set()
    for one in who:
        if isinstance(one, Public):
            if len(who) > 1:
                raise ValueError(f"{one.name} stands alone")
            return one
        roles |= {one} if isinstance(one, Role) else set(one)
    return frozenset(roles)
