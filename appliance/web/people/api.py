"""``/customer/users``: the people of a tenant, and their API tokens."""

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
from appliance.web.access.auth import ADMINS, allow
from appliance.web.access.transactions import tenants_shown
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.people.actions import Invited, PeopleActions


class UserOut(msgspec.Struct, frozen=True):
    """A user, without anything that proves it is them."""

    user_id: UUID
    tenant_id: Annotated[str | None, msgspec.Meta(description="Null: an operator.")]
    email: str
    name: str
    role: Role
    state: UserState
    has_password: Annotated[bool, msgspec.Meta(description="False: invited, and has not come yet.")]
    has_second_factor: bool
    time_zone: str | None
    theme: Theme
    created_at: datetime
    last_sign_in_at: datetime | None
    disabled_at: datetime | None


class UserQuery(msgspec.Struct, frozen=True):
    """Which users; what is left out is any."""

    q: Annotated[str, msgspec.Meta(max_length=254, description="A part of the address or the name.")] = ""
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
    name: str = ""


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    role: Role | None = None
    disabled: Annotated[bool | None, msgspec.Meta(description="True ends sessions and links at once.")] = None


class UserReset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to begin anew."""

    drop_second_factor: Annotated[bool, msgspec.Meta(description="For somebody who has lost it.")] = False


class InvitedOut(msgspec.Struct, frozen=True):
    """The link is shown this once: it sets a password, once and within 24 hours."""

    user: UserOut
    link: str


class TokenOut(msgspec.Struct, frozen=True):
    """What may be told of a token."""

    token_id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class TokenList(msgspec.Struct, frozen=True):
    """All tokens of one user."""

    items: list[TokenOut]


def blueprint(actions: PeopleActions) -> Blueprint:
    """The routes."""
    routes = Blueprint("api_users", __name__)

    @routes.get("/customer/users")
    @allow(ADMINS)
    @describe("List users", query=UserQuery, answers={HTTPStatus.OK: UserPage}, csv=True)
    async def list_users() -> Response:
        asked = query(UserQuery)
        after = cursor.read(asked.cursor, tuple[str, UUID])
        wanted = UserFilter(tenants_shown(), asked.role, asked.state, asked.q, after)
        if csv_export.asked_for():
            return actions.file(wanted)
        found = await actions.list_page(wanted, asked.limit + 1)
        last = found[asked.limit - 1] if len(found) > asked.limit else None
        place = None if last is None else (last.email, last.user_id)
        return answer(UserPage([shown(user) for user in found[: asked.limit]], cursor.write(place)))

    @routes.post("/customer/users")
    @allow(ADMINS)
    @describe("Invite a user", body=UserNew, answers={HTTPStatus.CREATED: InvitedOut})
    async def invite() -> Response:
        new = await body(UserNew)
        made = await actions.add(new.email, new.role, new.name)
        return answer(invited(made), HTTPStatus.CREATED, {"Location": f"/customer/users/{made.user.user_id}"})

    @routes.get("/customer/users/<uuid:user_id>")
    @allow(ADMINS)
    @describe("Show a user", answers={HTTPStatus.OK: UserOut})
    async def show(user_id: UUID) -> Response:
        return answer(shown(await actions.get(user_id)))

    @routes.patch("/customer/users/<uuid:user_id>")
    @allow(ADMINS)
    @describe("Give another role, shut out or let in", body=UserChange, answers={HTTPStatus.OK: UserOut})
    async def change(user_id: UUID) -> Response:
        wanted = await body(UserChange)
        if wanted.role is not None and wanted.disabled is not None:
            raise Invalid("Change the role and the access one after the other.", "disabled")
        if wanted.role is not None:
            await actions.set_role(user_id, wanted.role)
        if wanted.disabled is not None:
            await (actions.disable(user_id) if wanted.disabled else actions.enable(user_id))
        return answer(shown(await actions.get(user_id)))

    @routes.post("/customer/users/<uuid:user_id>/reset")
    @allow(ADMINS)
    @describe("End the sessions; a link for a new password", body=UserReset, answers={HTTPStatus.OK: InvitedOut})
    async def reset(user_id: UUID) -> Response:
        wanted = await body(UserReset)
        return answer(invited(await actions.reset(user_id, drop_second_factor=wanted.drop_second_factor)))

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

    return routes


def shown(user: User) -> UserOut:
    """A user as the API tells of them."""
    return UserOut(**{name: getattr(user, name) for name in UserOut.__struct_fields__})


def invited(made: Invited) -> InvitedOut:
    """A user with their link."""
    return InvitedOut(shown(made.user), made.link)


def shown_token(token: Token) -> TokenOut:
    """A token as the API tells of it."""
    scopes = sorted(token.scopes)
    return TokenOut(token.token_id, token.name, scopes, token.created_at, token.expires_at, token.last_used_at)
