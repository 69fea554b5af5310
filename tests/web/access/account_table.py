"""What opens a way into an account, and what it asks for before it does.

An account is opened by whoever gets a password, a link, a second factor, a token or a session for it, or a role at or
above one's own. In ``TABLE`` stands every route that changes something about accounts; a new one gets a line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ACCOUNTS = frozenset(
    {
        "/acknowledge", "/customer/me", "/customer/sessions", "/customer/tokens", "/customer/users", "/link",
        "/profile", "/set-up", "/sign-in", "/sign-out", "/users",
    }
)  # fmt: skip
"""Where the routes of accounts are. No other part of the dashboard writes accounts: a test looks at what it imports."""


@dataclass(frozen=True, slots=True)
class AsksForPassword:
    """Asks for the password of who is signed in, every time, and is closed to tokens of the API."""

    name: str
    """Of the field that carries the password; a fault is shown at it."""
    given: Mapping[str, object] = field(default_factory=dict)
    """Everything else that it takes."""


@dataclass(frozen=True, slots=True)
class Proven:
    """Nobody is signed in yet: ``by`` is what proves who comes, and ``test`` holds it."""

    by: str
    test: str


@dataclass(frozen=True, slots=True)
class OpensNothing:
    """Takes away, or changes what lets nobody in."""

    because: str


WayIn = AsksForPassword | Proven | OpensNothing

SIGN_IN = "tests/web/sign_in/test_views.py"

TABLE: Mapping[str, WayIn] = {
    # pages before the sign-in
    "POST /sign-in": Proven("the password", f"{SIGN_IN}::test_wrong_is_wrong_without_a_word_about_who_exists"),
    "POST /sign-in/code": Proven("the second factor", f"{SIGN_IN}::test_the_second_step_asks_for_a_code"),
    "POST /link/<secret>": Proven("a secret that works once", f"{SIGN_IN}::test_a_one_time_link_sets_a_password_once"),
    "POST /set-up/<secret>": Proven(
        "a secret from the console, while there is no user",
        "tests/system/test_first_start.py::test_the_set_up_link_leads_to_a_first_message_and_then_to_nothing",
    ),
    "POST /sign-out": OpensNothing("ends the session"),
    "POST /acknowledge/<token>": OpensNothing("acknowledges one alert, once, and signs nobody in"),
    # users, the pages
    "POST /users/new": AsksForPassword("current", {"email": "kim@acme.example", "name": "Kim", "role": "viewer"}),
    "POST /users/<uuid:user_id>/role": AsksForPassword("role_password", {"role": "admin", "was": "viewer"}),
    "POST /users/<uuid:user_id>/disable": OpensNothing("ends sessions and links"),
    "POST /users/<uuid:user_id>/enable": AsksForPassword("access_password"),
    "POST /users/<uuid:user_id>/reset": AsksForPassword("access_password", {"drop_second_factor": "on"}),
    "POST /users/<uuid:user_id>/tokens/<uuid:token_id>/revoke": OpensNothing("takes a token away"),
    # users, the API
    "POST /customer/users": AsksForPassword("password", {"email": "kim@acme.example", "role": "viewer"}),
    "PATCH /customer/users/<uuid:user_id>": AsksForPassword("password", {"role": "admin"}),
    "POST /customer/users/<uuid:user_id>/reset": AsksForPassword("password", {"drop_second_factor": True}),
    "DELETE /customer/users/<uuid:user_id>/tokens/<uuid:token_id>": OpensNothing("takes a token away"),
    # one's own account
    "POST /customer/tokens": AsksForPassword("password", {"name": "t", "scopes": ["write"]}),
    "DELETE /customer/tokens/<uuid:token_id>": OpensNothing("takes a token away"),
    "DELETE /customer/sessions/<uuid:session_id>": OpensNothing("ends a session"),
    "PATCH /customer/me": OpensNothing("name, zone, theme and shortcuts; no address and no role"),
    "POST /profile": OpensNothing("name, zone, theme and shortcuts; no address and no role"),
    "POST /profile/password": AsksForPassword("current", {"password": "a heron in a wet field"}),
    "POST /profile/sessions/<uuid:session_id>/end": OpensNothing("ends a session"),
    "POST /profile/sessions/end-others": OpensNothing("ends sessions"),
    "POST /profile/tokens/revoke-all": OpensNothing("takes tokens away"),
    "POST /profile/tokens/new": AsksForPassword("current", {"name": "t", "scopes": "write", "days": "9"}),
    "POST /profile/tokens/<uuid:token_id>/revoke": OpensNothing("takes a token away"),
    "POST /profile/second-factor": AsksForPassword("current", {"secret": "{secret}", "code": "{code}"}),
    "POST /profile/second-factor/drop": AsksForPassword("current"),
}

OTHER_FORMS: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("POST /customer/users/<uuid:user_id>/reset", {}),
    ("POST /customer/users/<own>/reset", {}),
    ("PATCH /customer/users/<uuid:user_id>", {"disabled": False}),
)
"""Routes that open a way in by more than one body."""

WRITERS: Mapping[str, str] = {
    "web.access.identity": "recognises sessions and tokens",
    "web.people": "the routes above",
    "web.sign_in": "the routes above",
}
"""Modules of the dashboard that may import what writes accounts, and why."""
