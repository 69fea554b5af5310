"""What a person reads when a page cannot be had: 403, 404, 405, 500, 503. Never a stack trace, always what to do."""

import secrets
from dataclasses import dataclass
from http import HTTPStatus

import psycopg
import structlog
import trio
from quart import Quart, Response, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException

from appliance.web.auth import Viewer
from appliance.web.frame import Frame
from appliance.web.services import Services
from appliance.web.templating import Templates

log = structlog.get_logger(__name__)

RETRY_AFTER = 5
"""Seconds after which the page for "Postgres is away" tries again by itself."""

POSTGRES_AWAY = (psycopg.OperationalError, trio.TooSlowError)
"""What reading raises while Postgres cannot be reached, or does not answer in time."""


NOBODY = Viewer(tenant_id=None, zone=None)
"""An error page shows nothing of anybody: it needs no viewer, whatever the gate has decided."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request in words: what is true, and one next step."""

    status: HTTPStatus
    title: str
    text: str
    reference: str | None = None
    """Stands in the log beside the error, so that the two can be matched."""


TEXTS: dict[HTTPStatus, tuple[str, str]] = {
    HTTPStatus.FORBIDDEN: ("Not allowed", "Your role does not include this page."),
    HTTPStatus.NOT_FOUND: ("Not found", "There is nothing at this address. It may have been deleted or renamed."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Not possible here", "This address cannot be used that way."),
    HTTPStatus.REQUEST_TIMEOUT: ("Too slow", "The request did not arrive whole in time. Try again."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("Too large", "The request is larger than this page takes."),
}


def describe(status: HTTPStatus) -> Failure:
    """The words for a status that a route or the framework answered."""
    title, text = TEXTS.get(status, (status.phrase, f"{status.description or 'The request was not understood'}."))
    return Failure(status, title, text)


def _path() -> str:
    """The path of the current request or WebSocket."""
    return request.path if has_request_context() else websocket.path


class FailurePages:
    """Turns errors into pages, for every route of an application."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def install(self, app: Quart) -> None:
        """Register the error handlers."""
        app.register_error_handler(HTTPException, self.refused)
        app.register_error_handler(Exception, self.failed)
        for error in POSTGRES_AWAY:
            app.register_error_handler(error, self.postgres_away)

    async def refused(self, error: HTTPException) -> Response:
        """An error that a route or the framework meant: 4xx. Keeps its headers, such as Allow."""
        response = self._page(describe(HTTPStatus(error.code or 500)))
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response

    async def failed(self, error: Exception) -> Response:
        """A surprise: logged with its traceback, shown as a reference only."""
        reference = secrets.token_hex(4)
        log.error("page failed", path=_path(), reference=reference, exc_info=error)
        text = "This is a fault of the appliance. It stands in the log under the reference below."
        return self._page(Failure(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong", text, reference))

    async def postgres_away(self, error: Exception) -> Response:
        """Postgres is away: what that means for the messages, and how long it can last."""
        log.warning("page without postgres", path=_path(), error=str(error))
        text = (
            "Readings cannot be shown at the moment. No message is lost: the broker keeps them until Postgres is back."
        )
        failure = Failure(HTTPStatus.SERVICE_UNAVAILABLE, "Postgres is away", text)
        response = self._page(failure, queue=self._services.broker_queue(), retry_after=RETRY_AFTER)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response

    def _page(self, failure: Failure, **values: object) -> Response:
        if not has_request_context():  # a WebSocket: no person reads it
            return Response(f"{failure.status.value} {failure.title}\n", failure.status, content_type="text/plain")
        frame = Frame(now=self._services.clock.wall(), path=request.path, viewer=NOBODY)
        values = {"queue": None, "retry_after": None, **values}
        html = self._templates.render("pages/failure.html", frame=frame, failure=failure, **values)
        return Response(html, status=failure.status, content_type="text/html; charset=utf-8")
