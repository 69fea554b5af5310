"""The requests that the dashboard refuses before any page sees them, and the headers of every answer. One test a line.

Off-the-shelf servers accept any Host, upgrade to clear-text HTTP/2, read 20 kB of headers and name themselves. These
rules are applied by :func:`judge` to the bare request head, so that pages, probes, files and WebSockets share them.

Accepted: lines that end with LF only, and folded header lines. The parser (h11) reads them as RFC 9112 §2.2 and §5.2
allow, as one request; a proxy that reads them differently would have to forward them unchanged to do harm.
"""

import ipaddress
import re
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing from other sites, no framing."""

_UNUSED_FEATURES = (
    "accelerometer", "autoplay", "browsing-topics", "camera", "display-capture", "geolocation",
    "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "serial", "usb",
)  # fmt: skip

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, browsers send our own forms with "Origin: null"
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", ", ".join(f"{feature}=()" for feature in _UNUSED_FEATURES).encode()),
)
"""Sent with every answer, including those of the server itself."""

RETRY_AFTER = 5
"""Seconds, in a 503 for too many connections."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of size and time for requests and connections. Sizes in bytes, times in seconds."""

    url: int = 8 * 1024
    """The request target (nginx and Apache: 8 KiB)."""
    headers: int = 16 * 1024
    """All header lines together."""
    header_count: int = 100
    query_fields: int = 100
    body: int = 1024 * 1024
    head_time: float = 5.0
    """For a whole request head, and between two requests of one connection."""
    body_grace: float = 10.0
    """For the start of a request body, counted from its first read; then it must have come at ``body_rate``, or 408."""
    body_rate: int = 8 * 1024
    """Bytes a second: the slowest line on which the largest body is still taken, in 138 seconds."""
    handshake_time: float = 5.0
    """For the first byte of a connection and the whole handshake of TLS, where the dashboard speaks TLS."""
    send_time: float = 10.0
    """For a peer to receive each 256 KiB of what is sent to it; then its connection is cut."""
    connections: int = 512
    """As many as :func:`affordable_connections` says, where the process may not open so many files."""
    connections_per_address: int = 64
    """Not for loopback and trusted proxies, which connect on behalf of everybody; then for each client they name."""
    drain_time: float = 1.5
    """For open requests after the drain has begun; then their connections are cut."""


RESERVED_FILES = 56
"""Files that the rest of the process may open: the pools, broker, children, deliveries. It has about 25 when idle."""
FEWEST_CONNECTIONS = 8
MOST_TURNED_AWAY = 16
"""Connections that wait at once for the answer that there is no place: less than a third of the reserved files."""


def affordable_connections(wanted: int, files: int) -> int:
    """Return how many connections of ``wanted`` a process serves that may open so many ``files`` (RLIMIT_NOFILE).

    Without a bound, connections that do nothing would take the files by which Postgres and the broker are reached.
    """
    return wanted if files < 0 else min(wanted, max(FEWEST_CONNECTIONS, files - RESERVED_FILES))


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request before its body.

    ``local`` is the address of this machine that the client connected to, ``host`` the one that its browser asked for.
    """

    method: bytes
    target: bytes
    http_version: bytes
    headers: Sequence[tuple[bytes, bytes]]
    local: str
    host: bytes | None

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that (lower-case) name, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class RequestVerdict:
    """Why a request is refused: the status, and one line for people."""

    status: HTTPStatus
    detail: str
    location: bytes | None = None
    """Where to ask instead, for a redirect."""
    problem: bytes | None = None
    """The body for a caller of the API (RFC 9457)."""


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """The host names that the dashboard answers to. Any other name could be another site's that its DNS points here.

    DNS cannot rebind a literal address, so loopback, addresses of local networks and the address that the client
    connected to are accepted.
    """

    names: frozenset[str]
    """In lower case; one that begins with ``*.`` stands for any first label, as in certificates (RFC 6125 §6.4.3)."""

    def with_names(self, more: Iterable[str]) -> "HostPolicy":
        """Return the policy that answers to more names, those of a certificate."""
        return HostPolicy(self.names | {name.rstrip(".").lower() for name in more})

    def admits(self, host: str, local: str) -> bool:
        """Return whether the Host header ``host`` names this appliance."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].strip("[]").rstrip(".").lower()
        if name == local or self.names_itself(name):
            return True
        address = _address(name)
        return address is not None and (address.is_private or address.is_link_local)

    def names_itself(self, name: str) -> bool:
        """Return whether a lower-case name or an address is among the names, by a wildcard at least."""
        if name in self.names:
            return True
        address = _address(name)
        if address is not None:
            return str(address) in self.names
        first, dot, rest = name.partition(".")
        return bool(first and dot) and f"*.{rest}" in self.names


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def host_policy(public_url: str | None) -> HostPolicy:
    """Return the names of this machine and of ``public_url``."""
    own = socket.gethostname().lower()
    short = own.partition(".")[0]
    names = {"localhost", own, short, f"{short}.local"}
    if public_url is not None and (public := urlsplit(public_url).hostname):
        names.add(public.lower())
    return HostPolicy(frozenset(names))


def judge(head: RequestHead, hosts: HostPolicy, limits: RequestLimits) -> RequestVerdict | None:
    """Return why the request is refused, or None."""
    return _wrong_form(head) or _too_large(head, limits) or _wrong_host(head, hosts)


def _wrong_form(head: RequestHead) -> RequestVerdict | None:
    if head.http_version not in {b"1.0", b"1.1"}:
        return RequestVerdict(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "This server speaks HTTP/1.1.")
    if not head.target.startswith(b"/") or head.target.startswith(b"//"):
        return RequestVerdict(HTTPStatus.BAD_REQUEST, "The request target must be a path.")
    if re.search(rb"%[01][0-9a-fA-F]|%7[fF]", head.target.partition(b"?")[0]):
        return RequestVerdict(HTTPStatus.BAD_REQUEST, "The path has a control character.")
    if head.header(b"transfer-encoding") is not None and head.header(b"content-length") is not None:
        # RFC 9112 §6.1: a proxy and a server that choose differently disagree about where the request ends
        return RequestVerdict(HTTPStatus.BAD_REQUEST, "The body has two lengths.")
    return None


def _too_large(head: RequestHead, limits: RequestLimits) -> RequestVerdict | None:
    if len(head.target) > limits.url:
        return RequestVerdict(HTTPStatus.REQUEST_URI_TOO_LONG, f"The address is longer than {limits.url} bytes.")
    if head.target.count(b"&") >= limits.query_fields:
        return RequestVerdict(HTTPStatus.BAD_REQUEST, f"The query has more than {limits.query_fields} fields.")
    size = sum(len(name) + len(value) + 4 for name, value in head.headers)
    if size > limits.headers or len(head.headers) > limits.header_count:
        return RequestVerdict(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large.")
    length = head.header(b"content-length")
    if length is not None and int(length) > limits.body:  # h11 has checked that it is at most 20 digits
        return RequestVerdict(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {limits.body} bytes.")
    return None


def _wrong_host(head: RequestHead, hosts: HostPolicy) -> RequestVerdict | None:
    host = head.host
    if not host or not head.header(b"host"):
        return RequestVerdict(HTTPStatus.BAD_REQUEST, "The Host header is missing.")
    if not hosts.admits(host.decode("latin1"), head.local):
        return RequestVerdict(
            HTTPStatus.MISDIRECTED_REQUEST,
            "This appliance does not answer to that name. Use its address, or set web.public_url to the name you use.",
        )
    return None


def same_origin(origin: str | None, scheme: str, host: str | None, public_url: str | None) -> bool:
    """Return whether ``origin`` is a page of this appliance (RFC 6455 §10.2); browsers always send Origin.

    Under TLS (``scheme`` https or wss) a page over plain HTTP is none of ours: anybody on the way can have written it.
    Over plain HTTP one over TLS is: a proxy that names nobody may stand before us.
    """
    if not origin or not host:
        return False
    ours = {host.lower()}
    if public_url is not None:
        ours.add(urlsplit(public_url).netloc.lower())
    parts = urlsplit(origin.lower())
    schemes = {"https"} if scheme in {"https", "wss"} else {"http", "https"}
    return parts.scheme in schemes and parts.netloc in ours


class ConnectionSlots:
    """Counts connections, in total and by address, against the limits."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()

    def take(self, address: str, *, for_many: bool) -> bool:
        """Take a slot for a connection from ``address``; return False if there are too many.

        ``for_many``: a proxy connects from there on behalf of everybody, so that only the total counts.
        """
        if self._by_address.total() >= self._limits.connections:
            return False
        if not for_many and self._by_address[address] >= self._limits.connections_per_address:
            return False
        self._by_address[address] += 1
        return True

    def release(self, address: str) -> None:
        """Release the slot of a connection that has ended."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
