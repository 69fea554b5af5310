"""What a plain connection gets where the dashboard speaks TLS on the same port.

Phones and devices that do not know the CA yet must be able to fetch it, devices without TLS may go on sending, and
probes need no secret. Everything else is for TLS: the pages that people read are sent there. What changes something is
refused, since the password in it has already been on the line and a redirect would hide that; so is whatever a program
asks for: its token has been on the line, and ``curl -f`` or a monitor takes a redirect for success.
"""

from dataclasses import dataclass
from http import HTTPStatus

from appliance.web.http.hardening import RequestHead, RequestVerdict
from appliance.web.openapi.problem import is_for_programs, problem_body

READING = frozenset({b"GET", b"HEAD"})
CODE = "HTTPS_REQUIRED"
PROBES = frozenset({b"/healthz", b"/readyz", b"/metrics"})


@dataclass(frozen=True, slots=True)
class OpenPath:
    """A path, or all below it if it ends with a slash, that a plain connection is answered at."""

    path: bytes
    always: bool
    """Also with ``web.plain = false``."""
    changes: bool = False
    """Whether other methods than GET and HEAD are."""

    def takes(self, path: bytes, method: bytes) -> bool:
        """Return whether it is this path, and the method one that is answered."""
        here = path.startswith(self.path) if self.path.endswith(b"/") else path == self.path
        return here and (self.changes or method in READING)


OPEN_PATHS = (
    OpenPath(b"/ca.crt", always=True),
    OpenPath(b"/healthz", always=True),
    OpenPath(b"/trust", always=False),
    OpenPath(b"/static/", always=False),  # the looks of the page above: a browser without the CA gets them nowhere else
    OpenPath(b"/readyz", always=False),
    OpenPath(b"/metrics", always=False),
    OpenPath(b"/ingest/", always=False, changes=True),
)
"""The whole policy. A test asks every route."""


def judge_plain(head: RequestHead, https_host: bytes, *, plain: bool) -> RequestVerdict | None:
    """Return what a plain request gets in place of an answer, or None. Its Host has been judged before.

    ``https_host``: where it is answered over TLS. ``plain``: ``web.plain``.
    """
    path = head.target.partition(b"?")[0]
    if any(one.takes(path, head.method) for one in OPEN_PATHS if plain or one.always):
        return None
    for_api = is_for_programs(path.decode("latin1"))
    if head.method in READING and not (for_api or path in PROBES or _opens_websocket(path, head)):
        location = b"https://" + https_host + head.target
        return RequestVerdict(HTTPStatus.TEMPORARY_REDIRECT, f"See {location.decode('latin1')}", location)
    # without the query, which may hold a secret
    detail = f"This is answered under TLS only: ask https://{(https_host + path).decode('latin1')}"
    problem = problem_body(HTTPStatus.FORBIDDEN, CODE, detail) if for_api else None
    return RequestVerdict(HTTPStatus.FORBIDDEN, detail, problem=problem)


def _opens_websocket(path: bytes, head: RequestHead) -> bool:
    """Return whether it is a WebSocket's opening request, which no client sends to another address by a redirect."""
    upgrade = head.header(b"upgrade") or b""
    return path == b"/live" or upgrade.lower() == b"websocket"
