"""Error pages for people, and problems for programs: 4xx, 500, 503.

Never a stack trace, always what to do. The path decides which of the two it is: the API answers with a problem.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
import structlog
import trio
from quart import Quart, Response, g, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException

from appliance.errors import (
    ApplianceError,
    Busy,
    Conflict,
    Invalid,
    KeyReused,
    NoCapacity,
    NoRoom,
    NotFound,
    Outdated,
    Throttled,
    VersionNeeded,
)
from appliance.people.kept_answers import KEY_FIELD
from appliance.people.role import Role, Theme
from appliance.renewals.renewal import DevicesNeeded
from appliance.web.access.auth import Viewer, viewer_if_any
from appliance.web.access.transactions import TenantNotChosen
from appliance.web.http.request_id import request_id
from appliance.web.openapi.entity_tag import IF_MATCH
from appliance.web.openapi.problem import is_for_programs, problem
from appliance.web.page.frame import Frame
from appliance.web.page.templating import Templates
from appliance.web.platform import Platform

log = structlog.get_logger(__name__)

RETRY_AFTER = 5
"""Seconds after which the page for an unreachable database retries."""
BUSY_RETRY_AFTER = 2
"""Seconds after which a change may be sent again that somebody else's was in the way of."""

POSTGRES_AWAY = (psycopg.OperationalError, trio.TooSlowError)
"""What a read raises while Postgres is not reachable, or does not answer in time."""


ROLLED_BACK = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
"""What a transaction ends with that met another one: Postgres is there, and nothing of it was saved."""
MET = "Somebody else was changing the same just then. Nothing was changed; try again in a few seconds."

NO_ROOM = (
    "There was no room to save this, and nothing was changed. The operator of this appliance has to make room on its"
    " disk; try again then."
)
AWAY = "Readings cannot be shown at the moment. No message is lost: the broker keeps them until the database is back."
UNKNOWN = "Your change may or may not have been saved: check before you send it again."
KEYED = f"Your change may or may not have been saved: send it again with the same {KEY_FIELD}, and it is made once."

NOBODY = Viewer(
    user_id=UUID(int=0),
    email="",
    name="",
    role=Role.VIEWER,
    tenant_id="",
    zone=None,
    theme=Theme.SYSTEM,
    session_id=None,
    csrf="",
)
"""The viewer of an error page who is not signed in. Error pages show nobody's data."""


@dataclass(frozen=True, slots=True)
class BrokerQueue:
    """How full the broker's queue for the appliance is, in messages."""

    waiting: int
    capacity: int


@dataclass(frozen=True, slots=True)
class FailureText:
    """The text about a failed request: what is true, and one next step."""

    status: HTTPStatus
    title: str
    text: str
    reference: str | None = None
    """Logged with the error, so that the two can be matched."""


TEXTS: dict[HTTPStatus, tuple[str, str]] = {
    HTTPStatus.UNAUTHORIZED: ("Not signed in", "Sign in, and try again."),
    HTTPStatus.FORBIDDEN: ("Not allowed", "Your role does not include this page."),
    HTTPStatus.NOT_FOUND: ("Not found", "There is nothing at this address. It may have been deleted or renamed."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Not possible here", "This address cannot be used that way."),
    HTTPStatus.INSUFFICIENT_STORAGE: ("The disk is full", NO_ROOM),
    HTTPStatus.REQUEST_TIMEOUT: ("Too slow", "The request was not complete in time. Try again."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Busy", "Try again in a few seconds."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("Too large", "The request is too large for this page."),
}


STATUSES: Mapping[type[ApplianceError], HTTPStatus] = {
    Invalid: HTTPStatus.BAD_REQUEST,
    TenantNotChosen: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    Outdated: HTTPStatus.CONFLICT,
    VersionNeeded: HTTPStatus.PRECONDITION_REQUIRED,
    NoCapacity: HTTPStatus.PAYMENT_REQUIRED,
    Throttled: HTTPStatus.TOO_MANY_REQUESTS,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    NoRoom: HTTPStatus.INSUFFICIENT_STORAGE,
}
"""The HTTP statuses of the domain's errors, and of what is derived from them."""
SECRET_PARTS = frozenset({"secret", "token"})
"""Parts of paths, as rules name them, that let in whoever has them: they stand in no log."""
CODES: Mapping[type[ApplianceError], str] = {
    DevicesNeeded: "DEVICES_NEEDED",
    KeyReused: "KEY_REUSED",
    NoRoom: "DISK_FULL",
    VersionNeeded: "VERSION_NEEDED",
}
"""What programs are told of errors that are more than their status."""


def describe(status: HTTPStatus, text: str | None = None) -> FailureText:
    """Return the text for a status that a route or the framework answered; ``text``: the route's own text, if any."""
    title, usual = TEXTS.get(status, (status.phrase, f"{status.description or 'The request was not understood'}."))
    return FailureText(status, title, text or usual)


def _path() -> str:
    """Return the path of the current request or WebSocket, for the log; of a link that lets in only its kind."""
    asked = request if has_request_context() else websocket
    if asked.url_rule is not None and SECRET_PARTS & (asked.view_args or {}).keys():
        return str(asked.url_rule.rule)
    return asked.path


class FailurePages:
    """Answers errors with pages or problems, for every route of an application."""

    def __init__(
        self, platform: Platform, templates: Templates, broker_queue: Callable[[], BrokerQueue | None]
    ) -> None:
        self._platform = platform
        self._broker_queue = broker_queue
        self._templates = templates

    def install(self, app: Quart) -> None:
        """Register the error handlers."""
        app.register_error_handler(HTTPException, self.refused)
        app.register_error_handler(ApplianceError, self.unfit)
        app.register_error_handler(Exception, self.failed)
        for error in POSTGRES_AWAY:
            app.register_error_handler(error, self.postgres_away)
        app.register_error_handler(psycopg.errors.DiskFull, self.disk_full)
        for met in ROLLED_BACK:
            app.register_error_handler(met, self.rolled_back)

    async def refused(self, error: HTTPException) -> Response:
        """Answer an error that a route or the framework raised on purpose: 4xx. Keeps headers such as Allow."""
        own_text = None if error.description == type(error).description else error.description
        response = self._answer(describe(HTTPStatus(error.code or 500), own_text))
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response

    async def unfit(self, error: ApplianceError) -> Response:
        """Answer an error of the domain with its own text. Other kinds of errors are unexpected here."""
        status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
        if status is None:
            return await self.failed(error)
        if isinstance(error, Outdated) and IF_MATCH in request.headers:
            status = HTTPStatus.PRECONDITION_FAILED
        code = CODES.get(type(error), status.name)
        response = self._answer(describe(status, str(error)), code=code, members=_members(error))
        match error:
            case Throttled():
                response.headers["Retry-After"] = str(error.seconds)
            case Busy():
                response.headers["Retry-After"] = str(BUSY_RETRY_AFTER)
            case _:
                pass
        return response

    async def failed(self, error: Exception) -> Response:
        """Answer an unexpected error: logged with its traceback, shown as a reference only."""
        reference: str = g.request_id if has_request_context() else request_id(None)
        log.error("page failed", path=_path(), reference=reference, exc_info=error)
        text = "This is a fault of the appliance. The log has the details under the reference below."
        return self._answer(FailureText(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong", text, reference))

    async def postgres_away(self, error: Exception) -> Response:
        """Answer while Postgres is not reachable: what that means for messages, and how long it can last."""
        log.warning("page without postgres", path=_path(), error=str(error))
        asked = not has_request_context() or request.method == "GET"
        keyed = not asked and request.method == "POST" and KEY_FIELD in request.headers  # other changes take no key
        mend = "" if asked else f" {KEYED if keyed else UNKNOWN}"
        failure = FailureText(HTTPStatus.SERVICE_UNAVAILABLE, "The database is not reachable", f"{AWAY}{mend}")
        retry_after = RETRY_AFTER if asked else None  # a change is never repeated automatically
        response = self._answer(failure, queue=self._broker_queue(), retry_after=retry_after)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response

    async def disk_full(self, error: psycopg.Error) -> Response:
        """Answer a change that Postgres has found no room for; it is rolled back whole."""
        log.warning("page on a full disk", path=_path(), error=str(error).strip())
        return await self.unfit(NoRoom(NO_ROOM))

    async def rolled_back(self, error: psycopg.Error) -> Response:
        """Answer a request that another transaction was in the way of, a manual one as a rule."""
        log.warning("page rolled back", path=_path(), sqlstate=error.sqlstate, error=str(error).strip())
        return await self.unfit(Busy(MET))

    def _answer(
        self,
        failure: FailureText,
        *,
        code: str | None = None,
        members: Mapping[str, Any] = MappingProxyType({}),
        **values: object,
    ) -> Response:
        if not has_request_context():  # a WebSocket: no person reads it
            return Response(f"{failure.status.value} {failure.title}\n", failure.status, content_type="text/plain")
        if is_for_programs(request.path):
            given = {**members, "reference": failure.reference}
            said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
            return problem(failure.status, code or failure.status.name, failure.text, **said)
        frame = Frame(now=self._platform.clock.now(), path=request.path, viewer=viewer_if_any() or NOBODY)
        values = {"queue": None, "retry_after": None, **values}
        html = self._templates.render("failure.html", frame=frame, failure=failure, **values)
        return Response(html, status=failure.status, content_type="text/html; charset=utf-8")


def _members(error: ApplianceError) -> Mapping[str, Any]:
    """Return what a problem says to programs beside its text: the field to blame, the status that stands in the way."""
    match error:
        case DevicesNeeded():
            names = ("device_id", "name", "last_seen_at")
            candidates = [{name: getattr(device, name) for name in names} for device in error.choices]
            return {"field": error.field, "needed": error.needed, "candidates": candidates}
        case Invalid():
            return {"field": error.field}
        case Conflict():
            return {"present_status": error.present_status}
        case _:
            return {}


def trouble_text(causes: Mapping[str, str]) -> str | None:
    """Return the text of the banner while the appliance is not ready, else None. ``causes``: see ``Health.causes``."""
    if "disk" in causes:
        full = causes["disk"][:1].upper() + causes["disk"][1:]
        return f"{full}. Messages wait in the broker. Remove what is not needed; then it goes on by itself."
    if "postgres" in causes:
        return f"Postgres is not reachable: {causes['postgres']}. The broker queues messages; numbers are not updated."
    if "schema" in causes:
        return f"The database is not ready: {causes['schema']}."
    if "broker" in causes:
        return f"The broker is not reachable: {causes['broker']}. Devices must keep their messages until it is back."
    if "publishing" in causes:
        return f"Devices cannot publish: {causes['publishing']}. They must keep their messages until they can."
    if "storing" in causes:
        return f"Messages are not stored: {causes['storing']}. The broker queues them; nothing is lost so far."
    return None
