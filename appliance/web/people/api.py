"""``/customer/users``: the users of a tenant, and their API tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from quart import Blueprint, Response

from appliance.errors import Invalid
from appliance.people.role import Role, Scope, Theme
from appliance.people.tokens import Token
from appliance.people.users import User, UserFilter, UserState
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.people import export
from appliance.web.people.actions import Invited, PeopleActions
from appliance.web.platform import Platform

OwnPassword = Annotated[str, msgspec.Meta(description="The caller's own password; a request with a token is refused.")]


class UserOut(msgspec.Struct, frozen=True):
    """A user, without anything that proves it is them."""

    user_id: UUID
    tenant_id: Annotated[str | None, msgspec.Meta(description="Null: an operator.")]
    email: str
    name: str
    role: Role
    state: UserState
    has_password: Annotated[bool, msgspec.Meta(description="False: invited, and has not signed in yet.")]
    has_second_factor: bool
    time_zone: str | None
    theme: Theme
    created_at: datetime
    last_sign_in_at: datetime | None
    disabled_at: datetime | None


class UserQuery(msgspec.Struct, frozen=True):
    """Which users; a member that is left out matches any."""

    q: Annotated[str, msgspec.Meta(max_length=254, description="A part of the e-mail address or the name.")] = ""
    role: Role | None = None
    state: UserState | None = None
    format: Annotated[str, msgspec.Meta(description="`csv`: as `Accept: text/csv`.")] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class UserPage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[UserOut]
    next: str | None


class UserNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to invite; operators belong to no tenant, and only operators make them."""

    email: str
    role: Role
    password: OwnPassword
    name: str = ""


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change; a member that is left out stays."""

    role: Role | None = None
    disabled: Annotated[bool | None, msgspec.Meta(description="True ends sessions and links at once.")] = None
    password: Annotated[
        str, msgspec.Meta(description="The caller's own, to enable a user or to give a role like their own.")
    ] = ""


class UserReset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reset the access of a user: sessions and API tokens end at once."""

    password: OwnPassword
    drop_second_factor: Annotated[bool, msgspec.Meta(description="For a user who has lost it.")] = False


class InvitedOut(msgspec.Struct, frozen=True):
    """A user and a link that is shown only once: it sets a password, once and within 24 hours."""

    user: UserOut
    link: str


class TokenOut(msgspec.Struct, frozen=True):
    """A token, without its secret."""

    token_id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class TokenList(msgspec.Struct, frozen=True):
    """All tokens of one user."""

    items: list[TokenOut]


def blueprint(platform: Platform, actions: PeopleActions) -> Blueprint:
    """Return the routes of users in the API."""
    routes = Blueprint("api_users", __name__)
    _add_list(routes, platform, actions)
    _add_user(routes, actions)
    _add_tokens(routes, actions)
    return routes


def _add_list(routes: Blueprint, platform: Platform, actions: PeopleActions) -> None:
    @routes.get("/customer/users")
    @allow(ADMINS)
    @describe("List users", query=UserQuery, answers={HTTPStatus.OK: UserPage}, csv=True)
    async def list_users() -> Response:
        asked = query(UserQuery)
        after = cursor.read(asked.cursor, tuple[str, UUID])
        wanted = UserFilter(tenants_shown(), asked.role, asked.state, asked.q, after)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), wanted)
        page = await actions.list_page(wanted, asked.limit + 1)
        last = page[asked.limit - 1] if len(page) > asked.limit else None
        next_position = None if last is None else (last.email, last.user_id)
        return answer(UserPage([shown(user) for user in page[: asked.limit]], cursor.write(next_position)))

    @routes.post("/customer/users")
    @allow(ADMINS)
    @describe("Invite a user", body=UserNew, answers={HTTPStatus.CREATED: InvitedOut})
    async def invite() -> Response:
        new = await body(UserNew)
        with own_password():
            made = await actions.add(new.email, new.role, new.name, None, password=new.password)
        return answer(invited(made), HTTPStatus.CREATED, {"Location": f"/customer/users/{made.user.user_id}"})


def _add_user(routes: Blueprint, actions: PeopleActions) -> None:
    @routes.get("/customer/users/<uuid:user_id>")
    @allow(ADMINS)
    @describe("Show a user", answers={HTTPStatus.OK: UserOut})
    async def show(user_id: UUID) -> Response:
        return answer(shown(await actions.get(user_id)))

    @routes.patch("/customer/users/<uuid:user_id>")
    @allow(ADMINS)
    @describe("Change the role, disable or enable", body=UserChange, answers={HTTPStatus.OK: UserOut})
    async def change(user_id: UUID) -> Response:
        wanted = await body(UserChange)
        if wanted.role is not None and wanted.disabled is not None:
            raise Invalid("Change `role` and `disabled` in two requests.", "disabled")
        if wanted.role is not None:
            with own_password():
                await actions.set_role(user_id, wanted.role, password=wanted.password)
        if wanted.disabled is not None:
            if wanted.disabled:
                await actions.disable(user_id)
            else:
                with own_password():
                    await actions.enable(user_id, password=wanted.password)
        return answer(shown(await actions.get(user_id)))

    @routes.post("/customer/users/<uuid:user_id>/reset")
    @allow(ADMINS)
    @describe(
        "End sessions and tokens, and create a password link", body=UserReset, answers={HTTPStatus.OK: InvitedOut}
    )
    async def reset(user_id: UUID) -> Response:
        wanted = await body(UserReset)
        with own_password():
            made = await actions.reset(user_id, drop_second_factor=wanted.drop_second_factor, password=wanted.password)
        return answer(invited(made))


def _add_tokens(routes: Blueprint, actions: PeopleActions) -> None:
    @routes.get("/customer/users/<uuid:user_id>/tokens")
    @allow(ADMINS)
    @describe("List the API tokens of a user", answers={HTTPStatus.OK: TokenList})
    async def list_tokens(user_id: UUID) -> Response:
        return answer(TokenList([shown_token(token) for token in await actions.tokens(user_id)]))

    @routes.delete("/customer/users/<uuid:user_id>/tokens/<uuid:token_id>")
    @allow(ADMINS)
    @describe("Revoke an API token of a user", answers={HTTPStatus.NO_CONTENT: None})
    async def revoke_token(user_id: UUID, token_id: UUID) -> Response:
        await actions.revoke_token(user_id, token_id)
        return Response("", HTTPStatus.NO_CONTENT)


@contextmanager
def own_password() -> Iterator[None]:
    """Name the caller's password as the API does, where it is wrong."""
    try:
        yield
    except Invalid as error:
        if error.field != "current":
            raise
        raise Invalid(str(error), "password") from None


def shown(user: User) -> UserOut:
    """Return a user as the API shows them."""
    return UserOut(**{name: getattr(user, name) for name in UserOut.__struct_fields__})


def invited(made: Invited) -> InvitedOut:
    """Return a user with their link as the API shows them."""
    return InvitedOut(shown(made.user), made.link)


def shown_token(token: Token) -> TokenOut:
    """Return a token as the API shows it."""
    scopes = sorted(token.scopes)
    return TokenOut(token.token_id, token.name, scopes, token.created_at, token.expires_at, token.last_used_at)
