"""The address of a broker as people write it: ``mqtt://``, ``mqtts://``, ``ws://``, ``wss://`` or ``unix://``.

Enters: text. Leaves: its parts, or a ValueError that says what is wrong and what to write instead. Never: I/O, or a
word of the text that could be a password.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, TypeAlias, cast
from urllib.parse import unquote_to_bytes

Scheme: TypeAlias = Literal["mqtt", "mqtts", "ws", "wss", "unix"]

PORTS: Mapping[str, int] = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443, "unix": 0}
"""The schemes, and the port where none is given. IANA has registered the first two; the others are those of HTTP."""
WEBSOCKET_PATH = "/mqtt"
"""Where brokers serve MQTT over WebSocket, unless they are told otherwise."""
SOCKET_PATH_BYTES = 107
"""Bytes of the path of a Unix socket: ``sun_path`` of Linux has 108, the last of them is NUL."""
MAX_CHARACTERS = 2000
"""Characters of an address."""
FORMS = "mqtt://HOST[:PORT], mqtts://HOST[:PORT], ws://HOST[:PORT]/PATH, wss://HOST[:PORT]/PATH or unix:///PATH"

_OTHER_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("tcp", "mqtt+tcp"), "mqtt"),
    **dict.fromkeys(("ssl", "tls", "mqtt+ssl", "mqtt+tls", "mqtt+ssl+tcp"), "mqtts"),
    **dict.fromkeys(("http", "mqtt+ws"), "ws"),
    **dict.fromkeys(("https", "mqtt+wss"), "wss"),
    **dict.fromkeys(("ipc", "mqtt+unix"), "unix"),
}
"""What other programs call them."""
_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9_.~-]+)?)\]|(?P<name>[A-Za-z0-9_.-]{1,253}))(?::(?P<port>[0-9]*))?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address; ``str`` is the address again, without what a query may hold."""

    scheme: Scheme
    host: str = ""
    """Without brackets; empty for a Unix socket."""
    port: int = 0
    path: str = ""
    """Of a Unix socket, decoded; of a WebSocket the target of the request, with its query; else empty."""

    @property
    def encrypted(self) -> bool:
        """Whether it asks for TLS."""
        return self.scheme in {"mqtts", "wss"}

    @property
    def websocket(self) -> bool:
        """Whether it is the address of a WebSocket."""
        return self.scheme in {"ws", "wss"}

    @property
    def authority(self) -> str:
        """Host and port as a ``Host`` header has them: no zone of an interface, no port where it is the usual one."""
        host = self.host.partition("%")[0]
        host = f"[{host}]" if ":" in host else host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """Return the address with its port, for people."""
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path.partition('?')[0]}"


def parse(text: str) -> Address:
    """Return the address. Raises ValueError, whose text says what is wrong and quotes nothing secret."""
    scheme = _scheme(text)
    if "@" in text:
        raise ValueError("holds an @, behind a user or a password: leave them out, they have fields of their own")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"is longer than {MAX_CHARACTERS} characters")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("has a character that an address cannot have; write host names in ASCII, other bytes as %20")
    if "#" in text:
        raise ValueError("has a #, which no broker is told; leave it out, or write it as %23")
    before, mark, query = text.partition("://")[2].partition("?")
    authority, slash, path = before.partition("/")
    if scheme == "unix":
        if mark:
            raise ValueError("has a query, which a Unix socket does not; leave it out, or write ? as %3F")
        return Address(scheme, path=_socket_path(authority, path))
    if not authority:
        raise ValueError(f"has no host; write {scheme}://HOST")
    host, port = _host_and_port(authority, PORTS[scheme])
    if scheme in {"ws", "wss"}:
        return Address(scheme, host, port, (slash + path or WEBSOCKET_PATH) + mark + query)
    if path or mark:
        raise ValueError(f"has a path or a query, which only ws:// and wss:// have; write {scheme}://HOST:PORT")
    return Address(scheme, host, port)


def _scheme(text: str) -> Scheme:
    """Return the scheme. Raises ValueError, with the name that we have for it."""
    scheme, separator, _ = text.partition(":")
    scheme = scheme.lower()
    if separator and scheme in PORTS and text[len(scheme) :].startswith("://"):
        return cast("Scheme", scheme)
    if scheme in _OTHER_NAMES:
        raise ValueError(f"{scheme}:// is not a scheme that is known here; write {_OTHER_NAMES[scheme]}://")
    raise ValueError(f"must be {FORMS}")


def _host_and_port(authority: str, usual: int) -> tuple[str, int]:
    found = _HOST_AND_PORT.fullmatch(authority)
    if found is None:
        raise ValueError(
            "has a host or a port that cannot be: a host has letters, digits, dots and hyphens, IPv6 stands in "
            "brackets, and a port is a number from 1 to 65535"
        )
    name, literal, digits = found["name"], found["literal"], found["port"]
    port = int(digits) if digits else usual
    if not 0 < port < 65536:
        raise ValueError("has a port that cannot be; a port is a number from 1 to 65535")
    host = name.lower() if literal is None else literal.replace("%25", "%", 1)  # RFC 6874: the zone of an interface
    try:
        if literal is not None:
            IPv6Address(host)
        elif host.replace(".", "").isdigit():
            IPv4Address(host)
    except ValueError:
        raise ValueError(
            f'"{host}" is not an address: IPv4 has four numbers up to 255, IPv6 stands in brackets'
        ) from None
    return host, port


def _socket_path(authority: str, path: str) -> str:
    """Return the decoded path of a Unix socket."""
    if authority or not path:
        raise ValueError("has no path of a socket; write three slashes, as in unix:///run/mosquitto/mqtt.sock")
    found = unquote_to_bytes(f"/{path}")
    if b"\0" in found or len(found) > SOCKET_PATH_BYTES:
        raise ValueError(f"has a path that no Unix socket has: at most {SOCKET_PATH_BYTES} bytes, none of them NUL")
    return os.fsdecode(found)
