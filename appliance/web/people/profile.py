"""The profile page: name, time zone and appearance, password and second factor, sessions and API tokens."""

from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from quart import Blueprint, Response, request

from appliance import zones
from appliance.errors import Conflict, Invalid
from appliance.people import tokens, totp
from appliance.people.role import Scope, Theme
from appliance.people.users import MAX_NAME, Profile
from appliance.web.access.auth import ANYBODY_SIGNED_IN, allow, viewer
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.people.account_actions import AccountActions
from appliance.web.people.labels import SCOPES, THEMES, browser_of

DAYS = 90
"""Days for which a token is valid unless the form says otherwise."""
DONE = {
    "saved": "Your profile is saved.",
    "password": "Your password is changed, and you are signed out everywhere else.",
    "session": "The session has ended.",
    "sessions": "You are signed out everywhere else.",
    "token": "The token is revoked.",
    "tokens": "All your tokens are revoked.",
    "factor": "The second factor is on: the next sign-in asks for a code.",
    "no-factor": "The second factor is off.",
}


@dataclass(frozen=True, slots=True)
class TokenForm:
    """The fields of the form for a new token."""

    name: str = ""
    scopes: frozenset[str] = frozenset({Scope.READ.value})
    days: int = DAYS


def blueprint(renderer: PageRenderer, account: AccountActions) -> Blueprint:
    """Return the routes of the profile page."""
    routes = Blueprint("profile", __name__)
    _add_profile(routes, renderer, account)
    _add_password(routes, renderer, account)
    _add_second_factor(routes, renderer, account)
    _add_tokens(routes, renderer, account)
    return routes


def _add_profile(routes: Blueprint, renderer: PageRenderer, account: AccountActions) -> None:
    async def profile(given: Profile | None = None, fault: Fault | None = None) -> Response:
        user = await account.user()
        default = "Tenant time zone" if user.tenant_id else "Appliance time zone"
        return await renderer.page(
            "people/profile.html",
            status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
            done=DONE,
            user=user,
            given=given or Profile(user.name, user.time_zone, user.theme, user.shortcuts),
            fault=fault,
            zones=[("", default), *zones.choices_with(user.time_zone)],
            themes=THEMES,
            sessions=await account.sessions(),
            browser_of=browser_of,
            tokens=await account.tokens(),
        )

    @routes.get("/profile")
    @allow(ANYBODY_SIGNED_IN)
    async def show() -> Response:
        return await profile()

    @routes.post("/profile")
    @allow(ANYBODY_SIGNED_IN)
    async def save() -> Response:
        fields = await forms.read()
        given = Profile(
            fields.text("name", most=MAX_NAME),
            fields.text("time_zone") or None,
            fields.choice("theme", Theme),
            fields.flag("shortcuts"),
        )
        try:
            await account.set_profile(given)
        except Invalid as error:
            return await profile(given, fault_of(error))
        return see_other("/profile?done=saved")

    @routes.post("/profile/sessions/<uuid:session_id>/end")
    @allow(ANYBODY_SIGNED_IN)
    async def end_session(session_id: UUID) -> Response:
        await account.end_session(session_id)
        return see_other("/profile?done=session")

    @routes.post("/profile/sessions/end-others")
    @allow(ANYBODY_SIGNED_IN)
    async def end_others() -> Response:
        await account.end_other_sessions()
        return see_other("/profile?done=sessions")


def _add_password(routes: Blueprint, renderer: PageRenderer, account: AccountActions) -> None:
    @routes.get("/profile/password")
    @allow(ANYBODY_SIGNED_IN)
    async def password() -> Response:
        return await renderer.page("people/password.html", fault=None)

    @routes.post("/profile/password")
    @allow(ANYBODY_SIGNED_IN)
    async def set_password() -> Response:
        fields = await forms.read()
        try:
            await account.set_password(fields.raw("current"), fields.raw("password"))
        except Invalid as error:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            return await renderer.page("people/password.html", status=status, fault=fault_of(error))
        left = await account.tokens()
        return see_other("/profile/tokens?done=password" if left else "/profile?done=password")


def _add_tokens(routes: Blueprint, renderer: PageRenderer, account: AccountActions) -> None:
    @routes.get("/profile/tokens")
    @allow(ANYBODY_SIGNED_IN)
    async def list_tokens() -> Response:
        changed = request.args.get("done") == "password"
        return await renderer.page("people/tokens.html", tokens=await account.tokens(), changed=changed)

    @routes.post("/profile/tokens/revoke-all")
    @allow(ANYBODY_SIGNED_IN)
    async def revoke_all() -> Response:
        await account.revoke_tokens()
        return see_other("/profile?done=tokens")

    @routes.get("/profile/tokens/new")
    @allow(ANYBODY_SIGNED_IN)
    async def new_token() -> Response:
        return await renderer.page("people/token.html", given=TokenForm(), fault=None, token=None, scopes=SCOPES)

    @routes.post("/profile/tokens/new")
    @allow(ANYBODY_SIGNED_IN)
    async def add_token() -> Response:
        fields, token, fault, given = await forms.read(), None, None, TokenForm()
        try:
            days = fields.whole("days", least=1, most=tokens.MAX_DAYS) or DAYS
            given = TokenForm(fields.text("name"), frozenset(fields.many("scopes")), days)
            scopes = tokens.scopes_of(given.scopes)
            token = await account.add_token(fields.raw("current"), given.name, scopes, given.days)
        except (Invalid, Conflict) as error:
            fault = fault_of(error)
        status = HTTPStatus.CREATED if token else HTTPStatus.UNPROCESSABLE_ENTITY
        return await renderer.page(
            "people/token.html", status=status, given=given, fault=fault, token=token, scopes=SCOPES
        )

    @routes.post("/profile/tokens/<uuid:token_id>/revoke")
    @allow(ANYBODY_SIGNED_IN)
    async def revoke_token(token_id: UUID) -> Response:
        await account.revoke_token(token_id)
        return see_other("/profile?done=token")


def _add_second_factor(routes: Blueprint, renderer: PageRenderer, account: AccountActions) -> None:
    async def second_factor(secret: bytes, fault: Fault | None = None) -> Response:
        return await renderer.page(
            "people/second-factor.html",
            status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
            there=viewer().has_second_factor,
            secret=totp.typed(secret),
            otpauth=totp.address(secret, viewer().email, renderer.platform.name),
            fault=fault,
        )

    @routes.get("/profile/second-factor")
    @allow(ANYBODY_SIGNED_IN)
    async def show_second_factor() -> Response:
        return await second_factor(totp.new_secret())

    @routes.post("/profile/second-factor")
    @allow(ANYBODY_SIGNED_IN)
    async def set_second_factor() -> Response:
        fields = await forms.read()
        secret = totp.parse(fields.text("secret"))
        if secret is None:
            return await second_factor(
                totp.new_secret(), ("code", "The secret is no longer valid. Start again with this one.")
            )
        try:
            await account.set_second_factor(fields.raw("current"), secret, fields.raw("code"))
        except Invalid as error:
            return await second_factor(secret, fault_of(error))
        return see_other("/profile?done=factor")

    @routes.post("/profile/second-factor/drop")
    @allow(ANYBODY_SIGNED_IN)
    async def drop_second_factor() -> Response:
        try:
            await account.drop_second_factor((await forms.read()).raw("current"))
        except Invalid as error:
            return await second_factor(totp.new_secret(), fault_of(error))
        return see_other("/profile?done=no-factor")
