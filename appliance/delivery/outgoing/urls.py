"""Addresses of receivers as people write them: read strictly, and written anew from what was read.

What a library and a receiver could read in two ways is refused here; where an address leads is judged when it is
resolved (``dialler``), never by its text.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from appliance.delivery.outgoing.addresses import numeric
from appliance.delivery.outgoing.network import Destination
from appliance.errors import Invalid

MAX_URL = 2048
"""Characters; more is taken by few receivers."""
DEFAULT_PORTS = {"https": 443, "http": 80}
WEB_PORTS = frozenset({443, 8443})
"""The ports that HTTPS may reach at any public address."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_PATH_SAFE = "/%:@!$&'()*+,;=-._~"
_QUERY_SAFE = _PATH_SAFE + "?[]"


@dataclass(frozen=True, slots=True)
class Url:
    """An address that was read and can be dialled."""

    scheme: str
    host: str
    """In ASCII, without brackets; an odd form of an IP address is written as the address."""
    port: int
    target: str
    """Path and query, as they go into the request. May hold a secret."""

    @property
    def authority(self) -> str:
        """Host and port as they stand in an address and in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def destination(self) -> Destination:
        """Where a request to it is dialled."""
        return Destination(self.host, self.port, WEB_PORTS, encrypted=self.scheme == "https")

    def __repr__(self) -> str:
        """Without the target."""
        return f"Url({self.scheme}://{self.authority})"


def parse(text: str, field: str) -> Url:
    """Return the address that ``text`` is. Raises Invalid, which names ``field`` and never quotes the text."""
    text = text.strip(" ")
    if len(text) > MAX_URL:
        raise Invalid(f"The address is longer than {MAX_URL:,} characters.", field)
    if not text.isprintable() or " " in text:
        raise Invalid("The address holds a space, a line end or another sign that cannot be seen; remove it.", field)
    if "\\" in text:
        raise Invalid("The address holds a backslash; write / instead.", field)
    scheme = _scheme(text, field)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Invalid("The host or the port of the address is not valid; ports are 1 to 65535.", field) from None
    if "@" in parts.netloc:
        raise Invalid("The address holds a user name or password before the host; use the fields for them.", field)
    if "#" in text:
        raise Invalid("The address holds #, and what follows is never sent; remove it.", field)
    if port is not None and not 1 <= port <= 65_535:
        raise Invalid("The port of the address must be 1 to 65535.", field)
    target = quote(parts.path, safe=_PATH_SAFE) or "/"
    query = quote(parts.query, safe=_QUERY_SAFE)
    host = canonical_host(parts.hostname or "", field)
    return Url(scheme, host, port or DEFAULT_PORTS[scheme], f"{target}?{query}" if query else target)


def _scheme(text: str, field: str) -> str:
    named = _SCHEME.match(text)
    scheme = named[1].lower() if named else ""
    if scheme not in DEFAULT_PORTS:
        raise Invalid("The scheme of the address must be https://, or http:// to a network that is allowed.", field)
    if not text[len(scheme) :].startswith("://") or text[len(scheme) + 3 :][:1] in {"", "/"}:
        raise Invalid(f"The address names no host; write {scheme}://HOST/PATH.", field)
    return scheme


def canonical_host(host: str, field: str) -> str:
    """Return a host name in ASCII, or an IP address in its usual form. Raises Invalid."""
    if "%" in host:
        raise Invalid("The host holds %, which no name or address has here.", field)
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise Invalid("The host is not a valid name.", field) from None
    address = numeric(ascii_host) if ascii_host else None
    if address is not None:
        return str(address)
    if len(ascii_host) > 253 or not _HOST.fullmatch(ascii_host):
        raise Invalid("The host is not a valid name or IP address.", field)
    return ascii_host.lower()
