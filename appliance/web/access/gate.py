"""The gate before every route: identifies the viewer and checks role, scope, and where a change comes from.

In this order: how often the caller of the API asks (429), the session or token (401, or the sign-in page), the role
(403), the token's scope (403), and for a change the origin and the CSRF token (403). Endpoints name their audience with
:func:`appliance.web.access.auth.allow`.
"""

import hmac
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import structlog
from quart import Quart, Response, abort, g, redirect, request, websocket
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from appliance.errors import Invalid
from appliance.people import secret_token
from appliance.people.role import Scope
from appliance.people.sessions import Visit
from appliance.web.access.auth import SIGN_IN_PAGES, Public, Viewer, allowed_of
from appliance.web.access.call_rate import CallRates, Quota
from appliance.web.access.identity import csrf_token
from appliance.web.http import hardening
from appliance.web.http.cookies import BROWSER, SESSION, Cookies
from appliance.web.openapi.describe import check_names
from appliance.web.openapi.problem import is_for_programs, problem
from appliance.web.page import forms
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.platform import Platform

log = structlog.get_logger(__name__)

READING = frozenset({"GET", "HEAD", "OPTIONS"})
SIGN_IN = "/sign-in"
FIELD, HEADER = "csrf_token", "X-CSRF-Token"


class Gate:
    """Stands before every route and WebSocket of an application."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._cookies = Cookies()
        self._rates = CallRates(platform.api_limits, platform.clock)

    def install(self, app: Quart) -> None:
        """Register the checks. A path without a route passes, so that its 404 page shows in the viewer's own frame."""

        @app.before_request
        async def admit_request() -> AnyResponse | Response | None:
            if request.endpoint is None:
                g.viewer = await self._identify_if_possible()
                return None
            return await self._admit(app.view_functions[request.endpoint])

        @app.after_request
        async def say_limit(response: Response) -> Response:
            quota: Quota | None = g.get("quota")
            if quota is not None:
                response.headers.extend(self._rates.headers(quota))
            return response

        @app.before_websocket
        async def admit_websocket() -> None:
            if websocket.endpoint is not None:
                await self._admit_websocket(app.view_functions[websocket.endpoint])

    async def _admit(self, endpoint: Callable[..., Any]) -> AnyResponse | Response | None:
        allowed = allowed_of(endpoint)
        if isinstance(allowed, Public):
            if allowed is SIGN_IN_PAGES:
                await self._check_sign_in_form()
            return None
        limited = is_for_programs(request.path)
        caller = self._caller() if limited else None
        if caller is not None and self._must_wait(caller):
            return self._too_many()
        viewer = await self._identify()
        if viewer is None:
            return self._unauthorized()
        g.viewer = viewer
        if caller is not None and not self._counted(caller):
            return self._too_many()
        if viewer.role not in allowed:
            abort(HTTPStatus.FORBIDDEN)
        if viewer.scopes is not None:
            missing = _scope_missing(viewer.scopes)
            if missing is not None:
                return missing
        elif request.method not in READING:
            await _check_origin(self._platform.public_url, viewer.csrf)
        if limited:
            _check_text(request.args)
            check_names(endpoint, request.args)
        return None

    def _caller(self) -> bytes | None:
        """Return what the caller of the API is counted by: a hash of its token or cookie, as they are stored."""
        secret = bearer() or self._cookies.read(SESSION)
        return None if secret is None else secret_token.digest(secret)

    def _must_wait(self, caller: bytes) -> bool:
        """Return whether a known caller has asked too often, before the database is asked who it is."""
        g.quota = self._rates.refused(caller)
        return g.quota is not None

    def _counted(self, caller: bytes) -> bool:
        """Count the request of an identified caller; return whether it may go on."""
        quota = g.quota = self._rates.take(caller)
        return quota.passes

    def _too_many(self) -> Response:
        limits = self._rates.limits
        detail = f"Too many requests: at most {limits.per_minute} a minute and {limits.burst} at once. Wait, and go on."
        return problem(HTTPStatus.TOO_MANY_REQUESTS, "RATE_LIMITED", detail)

    async def _admit_websocket(self, endpoint: Callable[..., Any]) -> None:
        allowed = allowed_of(endpoint)
        if isinstance(allowed, Public):
            return
        secret = self._cookies.read_of_websocket(SESSION)
        visit = Visit(websocket.remote_addr, websocket.headers.get("User-Agent"))
        still = partial(self._platform.identity.by_session, secret or "", visit, touch=False)
        viewer = await still() if secret else None
        if viewer is None:
            abort(HTTPStatus.UNAUTHORIZED)
        if viewer.role not in allowed:
            abort(HTTPStatus.FORBIDDEN)
        g.viewer = viewer
        g.still_signed_in = still  # asked again while the socket is open

    async def _identify(self) -> Viewer | None:
        """Return the viewer of the token, or else of the cookie. Tokens are for the API only: pages are for people."""
        secret = bearer()
        if secret is not None:
            return await self._platform.identity.by_token(secret) if is_for_programs(request.path) else None
        session = self._cookies.read(SESSION)
        return await self._platform.identity.by_session(session, visit(), touch=True) if session else None

    async def _identify_if_possible(self) -> Viewer | None:
        """Return the viewer for an error page; None also while Postgres is away."""
        try:
            return None if is_for_programs(request.path) else await self._identify()
        except POSTGRES_AWAY as error:
            log.debug("error page without viewer", error=str(error))
            return None

    async def _check_sign_in_form(self) -> None:
        """Check a form before the sign-in: its token is bound to the browser's cookie, which its first page set."""
        g.browser = self._cookies.read(BROWSER)
        if request.method not in READING:
            await _check_origin(self._platform.public_url, csrf_token(g.browser) if g.browser else "")

    def _unauthorized(self) -> AnyResponse | Response:
        if is_for_programs(request.path):
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "UNAUTHORIZED",
                "sign in, or send an API token: Authorization: Bearer ...",
                {"WWW-Authenticate": 'Bearer realm="appliance"'},
            )
        where = request.full_path.rstrip("?") if request.method in READING else "/"
        address = SIGN_IN if where == "/" else f"{SIGN_IN}?next={quote(where, safe='/')}"
        if request.headers.get("HX-Request"):  # a part of a page: the whole page goes to the sign-in
            return Response("", HTTPStatus.UNAUTHORIZED, {"HX-Redirect": address})
        return redirect(address, HTTPStatus.SEE_OTHER)


def visit() -> Visit:
    """Return the address and browser of the current request."""
    return Visit(request.remote_addr, request.headers.get("User-Agent"))


def bearer() -> str | None:
    """Return the secret of ``Authorization: Bearer ...``, or None without that header."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def own_path(text: str) -> str:
    """Return the target of ``next=`` if it is a path of this appliance, else the overview: never another site."""
    path = text.strip()
    parts = urlsplit(path)
    plain = path.isprintable() and "\\" not in path and path.startswith("/") and not path.startswith("//")
    return path if plain and not parts.scheme and not parts.netloc else "/"


def _scope_missing(scopes: frozenset[Scope]) -> Response | None:
    needed = Scope.READ if request.method in READING else Scope.WRITE
    if needed in scopes:
        return None
    return problem(HTTPStatus.FORBIDDEN, "SCOPE_MISSING", f"this token has no scope {needed}")


async def _check_origin(public_url: str | None, expected: str) -> None:
    """Refuse a change that no page of this appliance sent. Browsers name the origin; the token proves it."""
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    foreign = origin is not None and not hardening.same_origin(origin, request.scheme, request.host, public_url)
    if foreign or site not in {None, "same-origin", "none"}:
        abort(HTTPStatus.FORBIDDEN, "The request came from another site.")
    given = request.headers.get(HEADER)
    if given is None and request.mimetype != forms.JSON:
        try:
            given = (await forms.read(files=True)).raw(FIELD)
        except Invalid:
            given = None
    if not expected or given is None or not hmac.compare_digest(given.encode(), expected.encode()):
        abort(HTTPStatus.FORBIDDEN, "This form is out of date. Go back, reload the page, and send it again.")


def _check_text(arguments: MultiDict[str, str]) -> None:
    """Raise Invalid for a query with NUL, which no text of Postgres can hold. Pages show the fault beside the list."""
    for name, value in arguments.items(multi=True):
        if "\0" in name or "\0" in value:
            raise Invalid("This holds a character (NUL) that cannot be stored or found.", name.replace("\0", ""))
