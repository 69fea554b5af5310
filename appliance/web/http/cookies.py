"""The two cookies, for the session and for the browser. They are hardened here and nowhere else.

Under TLS they are ``__Host-`` cookies: Secure, for this host only, so that other hosts of the domain cannot set them.
Over plain HTTP browsers reject such cookies, so they have other names there; neither is read in place of the other.
"""

from dataclasses import dataclass
from datetime import timedelta

from quart import Response, request, websocket

from appliance.people.sessions import BROWSER_KNOWN, KEPT_LIFETIME

MAX_SECRET = 128
"""Characters; longer values are ignored."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie, by its name over plain HTTP."""

    name: str

    def name_in(self, *, secure: bool) -> str:
        """Return its name over TLS or plain HTTP."""
        return f"__Host-{self.name}" if secure else self.name


SESSION = Cookie("appliance-session")
BROWSER = Cookie("appliance-browser")


class Cookies:
    """Reads and sets cookies."""

    def read(self, cookie: Cookie) -> str | None:
        """Return its secret in the current request, or None."""
        return self._secret(request.cookies.get(cookie.name_in(secure=request.scheme == "https")))

    def read_of_websocket(self, cookie: Cookie) -> str | None:
        """Return its secret in the opening request of the current WebSocket, or None."""
        return self._secret(websocket.cookies.get(cookie.name_in(secure=websocket.scheme == "wss")))

    def set_session(self, response: Response, secret: str, *, kept: bool) -> None:
        """Sign the browser in: until it is closed or, if ``kept``, as long as a kept session lasts."""
        self._set(response, SESSION, secret, KEPT_LIFETIME if kept else None)

    def set_browser(self, response: Response, secret: str) -> None:
        """Set the cookie that recognises the browser."""
        self._set(response, BROWSER, secret, BROWSER_KNOWN)

    def clear_session(self, response: Response) -> None:
        """Sign the browser out."""
        self._set(response, SESSION, "", timedelta())

    def _set(self, response: Response, cookie: Cookie, value: str, lifetime: timedelta | None) -> None:
        secure = request.scheme == "https"
        response.set_cookie(
            cookie.name_in(secure=secure),
            value,
            max_age=lifetime,
            secure=secure,
            httponly=True,
            samesite="Lax",
            path="/",
        )

    def _secret(self, value: str | None) -> str | None:
        return value if value and len(value) <= MAX_SECRET and value.isascii() else None
