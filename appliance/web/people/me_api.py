"""``/customer/me``: who the caller is, what it may do and how often; and the settings that people change themselves."""

import hashlib
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response

from appliance.errors import Outdated
from appliance.people.role import Role, Scope, Theme
from appliance.people.users import MAX_NAME, Profile, User, profile_of
from appliance.web.access.auth import ANYBODY_SIGNED_IN, allow, viewer
from appliance.web.access.call_rate import CallLimits
from appliance.web.openapi.body import body, given
from appliance.web.openapi.describe import answer, describe
from appliance.web.people.account_actions import AccountActions

PATH = "/customer/me"


class MyToken(msgspec.Struct, frozen=True):
    """The API token of this request."""

    name: str
    scopes: list[Scope]


class MyLimits(msgspec.Struct, frozen=True):
    """How often this token or session may ask the API."""

    requests_per_minute: int
    requests_at_once: Annotated[int, Meta(description="After a time of silence.")]


class MeOut(msgspec.Struct, frozen=True, kw_only=True):
    """The account of the caller."""

    user_id: UUID
    tenant_id: Annotated[str | None, Meta(description="Null: an operator, who names the tenant by `?tenant=`.")]
    email: str
    name: str
    role: Role
    time_zone: Annotated[str | None, Meta(description="Null: that of the tenant, of operators the machine's.")]
    theme: Theme
    shortcuts: Annotated[bool, Meta(description="Whether single keys do something on pages.")]
    has_second_factor: bool
    token: Annotated[MyToken | None, Meta(description="Null: a browser session, which may do what its role may.")]
    limits: MyLimits
    version: Annotated[str, Meta(description="Of what can be changed here: a stale one is a conflict.")]


class MeChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; a member that is left out stays."""

    name: Annotated[str | UnsetType, Meta(description=f"At most {MAX_NAME} characters.")] = UNSET
    time_zone: Annotated[str | UnsetType | None, Meta(description="As `Europe/Oslo`; null: that of the tenant.")] = (
        UNSET
    )
    theme: Theme | UnsetType = UNSET
    shortcuts: bool | UnsetType = UNSET
    version: Annotated[str | None, Meta(description="The version that was read: a stale one is a conflict.")] = None


def blueprint(account: AccountActions, limits: CallLimits) -> Blueprint:
    """Return the routes of the caller's own account."""
    routes = Blueprint("api_me", __name__)

    @routes.get(PATH)
    @allow(ANYBODY_SIGNED_IN)
    @describe("Show who you are, what you may do and how often", answers={HTTPStatus.OK: MeOut})
    async def show() -> Response:
        return answer(_shown(await account.user(), limits))

    @routes.patch(PATH)
    @allow(ANYBODY_SIGNED_IN)
    @describe(
        "Change your own settings",
        details="Role, password, second factor and tokens have operations of their own, or pages.",
        body=MeChange,
        answers={HTTPStatus.OK: MeOut},
    )
    async def change() -> Response:
        wanted = await body(MeChange)

        def edited(profile: Profile) -> Profile:
            if wanted.version not in (None, _version(profile)):
                raise Outdated("Your settings were changed since you read them; read them again.")
            return replace(profile, **given(wanted))

        return answer(_shown(await account.edit_profile(edited), limits))

    return routes


def _shown(user: User, limits: CallLimits) -> MeOut:
    who = viewer()
    token = None if who.token is None else MyToken(who.token, sorted(who.scopes or ()))
    return MeOut(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        email=user.email,
        name=user.name,
        role=user.role,
        time_zone=user.time_zone,
        theme=user.theme,
        shortcuts=user.shortcuts,
        has_second_factor=user.has_second_factor,
        token=token,
        limits=MyLimits(limits.per_minute, limits.burst),
        version=_version(profile_of(user)),
    )


def _version(profile: Profile) -> str:
    """Return a text that differs wherever a setting does: users have no number of their changes."""
    return hashlib.sha256(msgspec.json.encode(profile)).hexdigest()[:16]
