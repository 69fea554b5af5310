"""What the dashboard refuses before any page sees it, and the headers on every answer. One test a line.

Stock servers take any Host, upgrade to clear-text HTTP/2, read 20 kB of headers and name themselves; these rules are
judged by :func:`judge` on the bare request head, so that pages, probes, files and WebSockets share them.
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script, no inline style, nothing from elsewhere, no frame around it."""

_UNUSED_FEATURES = (
    "accelerometer", "autoplay", "browsing-topics", "camera", "display-capture", "geolocation",
    "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "serial", "usb",
)  # fmt: skip

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", ", ".join(f"{feature}=()" for feature in _UNUSED_FEATURES).encode()),
)
"""On every answer, those the server gives without asking the application included."""

MAX_URL = 8 * 1024
"""Bytes of a request target (nginx and Apache: 8 KiB)."""
MAX_HEADERS = 16 * 1024
"""Bytes of all header lines together."""
MAX_HEADER_COUNT = 100
MAX_QUERY_FIELDS = 100
MAX_BODY = 1024 * 1024
"""Bytes of a request body."""
HEAD_TIMEOUT = 5.0
"""Seconds for a whole request head, and between two requests of one connection."""
BODY_TIMEOUT = 20.0
"""Seconds for a whole request body; then 408."""
SEND_TIMEOUT = 10.0
"""Seconds in which a peer must take what is sent to it; then it is cut off."""
MAX_CONNECTIONS = 512
MAX_CONNECTIONS_PER_ADDRESS = 64
"""Not for loopback, where a reverse proxy may stand for everybody."""
RETRY_AFTER = 5
"""Seconds, in a 503 for want of connections."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request before its body. ``local`` is the address of this machine that the client connected to."""

    method: bytes
    target: bytes
    http_version: bytes
    headers: Sequence[tuple[bytes, bytes]]
    local: str

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a request is not taken: the status, and one line for the person who reads it."""

    status: HTTPStatus
    detail: str


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Names under which the dashboard answers. Any other name could be another site's, bound to our address by its DNS.

    A literal address cannot be bound to another one, so loopback, the local network's addresses and the address that
    the client reached are taken as they are.
    """

    names: frozenset[str]

    def admits(self, host: str, local: str) -> bool:
        """Whether the Host header ``host`` names this appliance."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].strip("[]").rstrip(".").lower()
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_private or address.is_link_local or name == local


def host_policy(public_url: str | None) -> HostPolicy:
    """The names of this machine and of ``public_url``."""
    own = socket.gethostname().lower()
    short = own.partition(".")[0]
    names = {"localhost", own, short, f"{short}.local"}
    if public_url is not None and (public := urlsplit(public_url).hostname):
        names.add(public.lower())
    return HostPolicy(frozenset(names))


def judge(head: RequestHead, hosts: HostPolicy) -> Verdict | None:
    """Why the request is refused, or None."""
    return _wrong_form(head) or _too_large(head) or _wrong_host(head, hosts)


def _wrong_form(head: RequestHead) -> Verdict | None:
    if head.http_version not in {b"1.0", b"1.1"}:
        return Verdict(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "This server speaks HTTP/1.1.")
    if not head.target.startswith(b"/") or head.target.startswith(b"//"):
        return Verdict(HTTPStatus.BAD_REQUEST, "The request target must be a path.")
    if re.search(rb"%[01][0-9a-fA-F]|%7[fF]", head.target.partition(b"?")[0]):
        return Verdict(HTTPStatus.BAD_REQUEST, "The path has a control character.")
    return None


def _too_large(head: RequestHead) -> Verdict | None:
    if len(head.target) > MAX_URL:
        return Verdict(HTTPStatus.REQUEST_URI_TOO_LONG, f"The address is longer than {MAX_URL} bytes.")
    if head.target.count(b"&") >= MAX_QUERY_FIELDS:
        return Verdict(HTTPStatus.BAD_REQUEST, f"The query has more than {MAX_QUERY_FIELDS} fields.")
    size = sum(len(name) + len(value) + 4 for name, value in head.headers)
    if size > MAX_HEADERS or len(head.headers) > MAX_HEADER_COUNT:
        return Verdict(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The headers take more than {MAX_HEADERS} bytes.")
    length = head.header(b"content-length")
    if length is not None and (len(length) > 20 or int(length) > MAX_BODY):
        return Verdict(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {MAX_BODY} bytes.")
    return None


def _wrong_host(head: RequestHead, hosts: HostPolicy) -> Verdict | None:
    host = head.header(b"host")
    if not host:
        return Verdict(HTTPStatus.BAD_REQUEST, "The Host header is missing.")
    if not hosts.admits(host.decode("latin1"), head.local):
        return Verdict(
            HTTPStatus.MISDIRECTED_REQUEST,
            "This appliance does not answer to that name. Use its address, or set web.public_url to the name you use.",
        )
    return None


def same_origin(origin: str | None, host: str | None, public_url: str | None) -> bool:
    """Whether a page of this appliance opened the WebSocket (RFC 6455 §10.2); browsers always send Origin."""
    if not origin or not host:
        return False
    ours = {host.lower()}
    if public_url is not None:
        ours.add(urlsplit(public_url).netloc.lower())
    parts = urlsplit(origin.lower())
    return parts.scheme in {"http", "https"} and parts.netloc in ours


def from_loopback(peer: str | None, forwarded: bool) -> bool:
    """Whether the request comes from this machine; ``forwarded``: a proxy's header says it speaks for another."""
    if peer is None or forwarded:
        return False
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
