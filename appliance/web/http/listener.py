"""Opens the socket that the dashboard listens on. Port 0 picks a free port; errors name the setting to change."""

import errno
import socket

import trio

from appliance.errors import ApplianceError

BACKLOG = 128
PEER_TIMEOUT_MS = 20_000
"""Milliseconds without acknowledgement until a peer counts as gone (TCP_USER_TIMEOUT); accepted sockets inherit it."""


async def open_listener(host: str, port: int) -> trio.SocketListener:
    """Listen on ``host`` and ``port``; port 0 picks a free one.

    Raises ApplianceError if that fails, naming the port and the configuration key to change.
    """
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = trio.socket.socket(family, kind, protocol)
    except OSError as error:
        raise ApplianceError(f"web.host {host!r} is not an address to listen on: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_MS)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        await bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise ApplianceError(_remedy(error, host, port)) from error
    return trio.SocketListener(bound)


def _remedy(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"The dashboard's port {port} is in use by another program: stop it, or set another web.port (0: any)"
    if error.errno == errno.EACCES:
        return f"The dashboard may not listen on port {port}: set a web.port of 1024 or higher"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"web.host {host} is not an address of this machine: set web.host to one of its own, or 0.0.0.0"
    return f"The dashboard cannot listen on {host} port {port} (web.host, web.port): {error.strerror}"
