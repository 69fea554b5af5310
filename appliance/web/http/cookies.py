"""The two cookies: the session, and the browser it is known by. Hardened here and nowhere else.

Under TLS they are ``__Host-`` cookies: Secure, for this host alone, beyond the reach of a neighbour on the same domain.
Over plain HTTP a browser would not keep such, so they have another name there; neither is read in place of the other.
"""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from quart import Response, request, websocket

from appliance.people.sessions import BROWSER_KNOWN, KEPT_LIFETIME

MAX_SECRET = 128
"""Characters; a longer value is not one of ours."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie by its name over plain HTTP."""

    name: str

    def name_in(self, *, secure: bool) -> str:
        """As it is called there."""
        return f"__Host-{self.name}" if secure else self.name


SESSION = Cookie("appliance-session")
BROWSER = Cookie("appliance-browser")


class Cookies:
    """Reads and sets them; ``public_url`` tells what a proxy in front does with TLS."""

    def __init__(self, public_url: str | None) -> None:
        public = urlsplit(public_url or "")
        self._tls_hosts = {public.netloc.lower()} if public.scheme == "https" else set()

    def secure(self, scheme: str, host: str) -> bool:
        """Whether the browser speaks TLS to the address that it used."""
        return scheme in {"https", "wss"} or host.lower() in self._tls_hosts

    def read(self, cookie: Cookie) -> str | None:
        """Its secret in the current request; None without one."""
        return self._secret(request.cookies.get(cookie.name_in(secure=self.secure(request.scheme, request.host))))

    def read_of_websocket(self, cookie: Cookie) -> str | None:
        """Its secret in the current WebSocket's opening; None without one."""
        name = cookie.name_in(secure=self.secure(websocket.scheme, websocket.host))
        return self._secret(websocket.cookies.get(name))

    def set_session(self, response: Response, secret: str, *, kept: bool) -> None:
        """Sign the browser in: until it is closed, or as long as a kept session lasts."""
        self._set(response, SESSION, secret, KEPT_LIFETIME if kept else None)

    def set_browser(self, response: Response, secret: str) -> None:
        """Let the browser be known again."""
        self._set(response, BROWSER, secret, BROWSER_KNOWN)

    def clear_session(self, response: Response) -> None:
        """Sign the browser out."""
        self._set(response, SESSION, "", timedelta())

    def _set(self, response: Response, cookie: Cookie, value: str, lifetime: timedelta | None) -> None:
        secure = self.secure(request.scheme, request.host)
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
