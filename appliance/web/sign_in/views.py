"""The sign-in: a password and a code, sign-out, one-time links for a password, and help with a forgotten one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from quart import Blueprint, Response, g, request

from appliance.errors import Invalid
from appliance.people import users
from appliance.people.signin import (
    Attempt,
    CodeRequired,
    SeveralAccounts,
    SignedIn,
    SignIn,
    SignInOutcome,
    SignInRefused,
)
from appliance.people.throttle import ThrottleWait
from appliance.web.access.auth import ANYBODY_SIGNED_IN, SIGN_IN_PAGES, allow, viewer
from appliance.web.access.gate import own_path, visit
from appliance.web.http.cookies import SESSION
from appliance.web.page import forms
from appliance.web.page.public import PublicPages
from appliance.web.page.renderer import see_other
from appliance.web.people.labels import wait_label
from appliance.web.platform import Platform

WRONG = "The e-mail address or the password is not right."
DONE = {"signed-out": "You are signed out.", "password": "The password is set. Sign in with it."}
WRONG_CODE = "This code is wrong or has expired. Enter the newest one."


@dataclass(frozen=True, slots=True)
class SignInForm:
    """The state of the sign-in form."""

    next: str = "/"
    email: str = ""
    keep: bool = False
    fault: str | None = None
    tenants: Sequence[str | None] = ()
    """Tenants of the accounts to choose from; None is the operator's account."""
    done: str | None = None
    """A message about the step just completed."""
    nobody: bool = False
    """Whether the appliance has no user yet."""


class SignInPages(PublicPages):
    """The pages of the sign-in, and the answers to its steps."""

    def answer(self, outcome: SignInOutcome, form: SignInForm) -> Response:
        """Return the answer to the first step, the password."""
        match outcome:
            case SignedIn():
                return self.welcome(outcome, form.next)
            case CodeRequired(link):
                return self.show("sign_in/code.html", link=link, next=form.next, fault=None)
            case SeveralAccounts(tenants):
                fault = "There are several accounts for this address. Choose one, and enter the password again."
                return self.sign_in(replace(form, tenants=tenants, fault=fault), HTTPStatus.UNPROCESSABLE_ENTITY)
            case ThrottleWait():
                return self.wait(outcome, "sign_in/sign-in.html", form=replace(form, fault=self._until(outcome)))
            case SignInRefused():
                return self.sign_in(replace(form, fault=WRONG), HTTPStatus.UNAUTHORIZED)

    def answer_code(self, outcome: SignInOutcome, link: str, where: str) -> Response:
        """Return the answer to the second step, the code."""
        match outcome:
            case SignedIn():
                return self.welcome(outcome, where)
            case ThrottleWait():
                return self.wait(outcome, "sign_in/code.html", link=link, next=where, fault=self._until(outcome))
        status = HTTPStatus.UNAUTHORIZED
        return self.show("sign_in/code.html", status, link=link, next=where, fault=WRONG_CODE)

    def sign_in(self, form: SignInForm, status: HTTPStatus = HTTPStatus.OK) -> Response:
        """Return the sign-in page."""
        return self.show("sign_in/sign-in.html", status, form=form)

    def wait(self, wait: ThrottleWait, name: str, **values: object) -> Response:
        """Return a page with status 429 and the seconds to wait in ``Retry-After``."""
        response = self.show(name, HTTPStatus.TOO_MANY_REQUESTS, **values)
        response.headers["Retry-After"] = str(wait.seconds)
        return response

    def _until(self, wait: ThrottleWait) -> str:
        return wait_label(wait, self.clock.now())


def blueprint(platform: Platform, sign_in: SignIn, pages: SignInPages) -> Blueprint:
    """Return the routes of the sign-in."""
    routes = Blueprint("sign_in", __name__)
    _add_sign_in(routes, platform, sign_in, pages)
    _add_sign_out(routes, platform, sign_in, pages)
    _add_password_link(routes, sign_in, pages)
    return routes


def _add_sign_in(routes: Blueprint, platform: Platform, sign_in: SignIn, pages: SignInPages) -> None:
    @routes.get("/sign-in")
    @allow(SIGN_IN_PAGES)
    async def show() -> Response:
        async with platform.pool.connection() as connection:
            nobody = not await users.any_exists(connection)
        done = DONE.get(request.args.get("done", ""))
        return pages.sign_in(SignInForm(own_path(request.args.get("next", "/")), nobody=nobody, done=done))

    @routes.post("/sign-in")
    @allow(SIGN_IN_PAGES)
    async def submit() -> Response:
        fields = await forms.read()
        form = SignInForm(own_path(fields.raw("next") or "/"), fields.text("email"), fields.flag("keep"))
        attempt = Attempt(
            email=form.email,
            password=fields.raw("password"),
            visit=visit(),
            browser=g.browser,
            keep=form.keep,
            tenant_id=fields.text("tenant") if "tenant" in fields else None,
            session=pages.cookies.read(SESSION),
        )
        return pages.answer(await sign_in.with_password(attempt), form)

    @routes.post("/sign-in/code")
    @allow(SIGN_IN_PAGES)
    async def code() -> Response:
        fields = await forms.read()
        link, where = fields.raw("link"), own_path(fields.raw("next") or "/")
        session = pages.cookies.read(SESSION)
        outcome = await sign_in.with_code(link, fields.raw("code"), visit(), g.browser, session)
        return pages.answer_code(outcome, link, where)


def _add_sign_out(routes: Blueprint, platform: Platform, sign_in: SignIn, pages: SignInPages) -> None:
    @routes.post("/sign-out")
    @allow(ANYBODY_SIGNED_IN)
    async def sign_out() -> Response:
        who = viewer()
        if who.session_id is not None:
            await sign_in.sign_out(who.session_id, who.user_id, platform.access.context())
        response = see_other("/sign-in?done=signed-out")
        pages.cookies.clear_session(response)
        return response


def _add_password_link(routes: Blueprint, sign_in: SignIn, pages: SignInPages) -> None:
    @routes.get("/forgotten")
    @allow(SIGN_IN_PAGES)
    async def forgotten() -> Response:
        return pages.show("sign_in/forgotten.html")

    @routes.get("/link/<secret>")
    @allow(SIGN_IN_PAGES)
    async def link(secret: str) -> Response:
        user = await sign_in.find_password_link(secret)
        if user is None:
            return pages.show("sign_in/link-over.html", HTTPStatus.NOT_FOUND)
        return pages.show("sign_in/password.html", user=user, fault=None)

    @routes.post("/link/<secret>")
    @allow(SIGN_IN_PAGES)
    async def set_password(secret: str) -> Response:
        fields = await forms.read()
        user = await sign_in.find_password_link(secret)
        if user is None:
            return pages.show("sign_in/link-over.html", HTTPStatus.NOT_FOUND)
        try:
            used = await sign_in.use_password_link(secret, fields.raw("password"), visit())
        except Invalid as error:
            return pages.show("sign_in/password.html", HTTPStatus.UNPROCESSABLE_ENTITY, user=user, fault=str(error))
        return (
            see_other("/sign-in?done=password") if used else pages.show("sign_in/link-over.html", HTTPStatus.NOT_FOUND)
        )
