"""Decides whose request it is: the client's address, and the scheme and host that its browser used.

The server asks once for each request head, WebSockets included, and hands on what is answered here as the request's own
address, scheme and Host; what proxies wrote is taken out. So whatever reads ``request.remote_addr``, ``request.scheme``
or ``request.host`` reads this decision, and nothing else can.

``X-Forwarded-For``, ``X-Forwarded-Proto`` and ``X-Forwarded-Host`` count when the connection comes from an address in
``web.trusted_proxies``. ``Forwarded`` (RFC 7239) never counts: a proxy that writes the ones passes the other on as its
client wrote it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.parse import urlsplit

from quart import request

Address = IPv4Address | IPv6Address
Headers = Sequence[tuple[bytes, bytes]]

HERE = "here"
"""In the state of a request: :attr:`Sender.here`."""
FOR, PROTO, HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"
_SCHEMES: dict[bytes, Literal["http", "https"]] = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request, and by which address of this appliance."""

    address: str
    """The client's; the connection's own where no trusted proxy names another."""
    scheme: Literal["http", "https"]
    host: bytes | None
    """The host and port that the browser asked for; None without any."""
    here: bool
    """Whether a program of this machine sent it, and certainly no proxy for somebody else."""


class Forwarding:
    """The proxies that are believed, and the address that people use.

    ``trusted``: addresses and networks, as ``web.trusted_proxies`` has them. Raises ValueError for anything else.
    ``own_tls``: whether the appliance speaks TLS itself. Without, only a proxy can serve an address that is https.
    """

    def __init__(self, trusted: Iterable[str], public_url: str | None, *, own_tls: bool) -> None:
        self._trusted = tuple(ip_network(text, strict=False) for text in trusted)
        public = urlsplit(public_url or "")
        self._public_host = public.netloc.lower().encode() if public.scheme == "https" else None
        self._tls_host = None if own_tls else self._public_host

    def trusts(self, peer: str) -> bool:
        """Return whether an address is that of a proxy whose headers count."""
        address = _address(peer)
        return address is not None and self._contains(address)

    def is_for_many(self, peer: str) -> bool:
        """Return whether connections from there may be on behalf of everybody: a proxy's, named or on this machine."""
        return is_loopback(peer) or self.trusts(peer)

    def sender_of(self, peer: str, headers: Headers, http_version: bytes, *, secure: bool) -> Sender:
        """Return who sent the request with these headers over a connection from ``peer``; ``secure``: over TLS."""
        host = next((value for name, value in headers if name == b"host"), None)
        scheme: Literal["http", "https"] = "https" if secure else "http"
        address = str(_address(peer) or peer)
        if self.trusts(peer):
            address, hops = self._client(address, _listed(headers, FOR))
            host = _written_at(_listed(headers, HOST), hops) or host
            scheme = _SCHEMES.get(_written_at(_listed(headers, PROTO), hops).lower(), scheme)
        if host is not None and host.lower() == self._tls_host:
            scheme = "https"
        return Sender(address, scheme, host, self._is_here(peer, headers, http_version))

    def https_host(self, peer: str, host: bytes) -> bytes:
        """Return the host and port of https for who has asked for ``host`` over plain HTTP: the same port.

        Without one it is 80, which a browser would not try for https. A proxy, and ``web.public_url``, have 443 for it.
        """
        has_port = b":" in host.rpartition(b"]")[2]
        return host if has_port or self.trusts(peer) or host.lower() == self._public_host else host + b":80"

    def _client(self, peer: str, written: list[bytes]) -> tuple[str, int]:
        """Return the first address from the right that is no trusted proxy, and how many addresses stand right of it.

        What stands further left is what the client wrote itself. Where all are trusted it is the leftmost; where a
        proxy has written no address at all, it is the connection's.
        """
        found = peer, 0
        for hops, text in enumerate(reversed(written)):
            address = _address(_without_port(text.decode("latin1")))
            if address is None:
                return peer, 0
            found = str(address), hops
            if not self._contains(address):
                break
        return found

    def _is_here(self, peer: str, headers: Headers, http_version: bytes) -> bool:
        """Return whether the request is of a program on this machine, for what is open to those alone.

        A proxy on this machine that names nobody looks the same. So nothing counts that can be one: a trusted address,
        a header that only proxies write, HTTP/1.0 (as nginx speaks it unless told otherwise), and any connection at all
        where a proxy terminates TLS and none is named.
        """
        if not is_loopback(peer) or self.trusts(peer) or http_version == b"1.0":
            return False
        return not (self._tls_host and not self._trusted) and not any(_by_proxy(name) for name, _ in headers)

    def _contains(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def without_proxy_headers(headers: Headers, host: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return the headers for the application: Host as decided, and nothing else that a proxy or its client wrote."""
    kept = [(name, value) for name, value in headers if not _by_proxy(name)]
    return kept if host is None else [(name, host if name == b"host" else value) for name, value in kept]


def is_loopback(peer: str) -> bool:
    """Return whether an address is this machine's own loopback."""
    address = _address(peer)
    return address is not None and address.is_loopback


def own_url(public_url: str | None) -> str:
    """Return the address of this appliance for links and commands, without a path.

    It is ``web.public_url``, else the one that the browser of the current request used.
    """
    return (public_url or f"{request.scheme}://{request.host}").rstrip("/")


def _by_proxy(name: bytes) -> bool:
    return name in {b"forwarded", b"via", b"x-real-ip"} or name.startswith(b"x-forwarded-")


def _address(text: str) -> Address | None:
    """Return the address in its plain form: an IPv4 one written as IPv6 is IPv4. None for anything else."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _without_port(text: str) -> str:
    """Return the address of ``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``."""
    if text.startswith("["):
        inside, closed, port = text[1:].partition("]")
        return inside if closed and (not port or port.startswith(":")) else ""
    return text.partition(":")[0] if text.count(":") == 1 else text


def _listed(headers: Headers, wanted: bytes) -> list[bytes]:
    """Return the parts of a header that may come as a list, in several lines."""
    lines = [value for name, value in headers if name == wanted]
    return [part.strip() for part in b",".join(lines).split(b",")] if lines else []


def _written_at(parts: list[bytes], hops: int) -> bytes:
    """Return what the proxy wrote that also wrote the client's address: as far from the right, at most the leftmost."""
    return parts[-min(hops + 1, len(parts))] if parts else b""
