"""Where to connect: a connection string taken apart into single addresses, names looked up by Trio."""

import socket

import trio
from psycopg import errors
from psycopg._conninfo_utils import get_param, get_param_def, is_ip_address, split_attempts
from psycopg.abc import ConnDict


async def resolve(params: ConnDict, deadline: float) -> list[ConnDict]:
    """The addresses to try, with ``hostaddr`` filled in, so that libpq never blocks in a name lookup."""
    addresses: list[ConnDict] = []
    failure: errors.OperationalError | None = None
    for attempt in split_attempts(params):
        host = get_param(attempt, "host")
        with trio.move_on_at(deadline) as scope:
            try:
                addresses += await _resolve_one(attempt, host)
            except OSError as error:
                failure = errors.OperationalError(f"failed to resolve host {host!r}: {error}")
        if scope.cancelled_caught:
            failure = errors.ConnectionTimeout(f"failed to resolve host {host!r} in time")
    if not addresses:
        raise failure or errors.OperationalError("no host to connect to")
    return addresses


async def _resolve_one(attempt: ConnDict, host: str | None) -> list[ConnDict]:
    if not host or host.startswith(("/", "@")) or get_param(attempt, "hostaddr"):
        return [attempt]
    if is_ip_address(host):
        return [{**attempt, "hostaddr": host}]
    default = get_param_def("port")
    port = get_param(attempt, "port") or (default and default.compiled) or "5432"
    found = await trio.socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM)
    return [{**attempt, "hostaddr": str(address[0])} for *_, address in found]


def describe(address: ConnDict) -> str:
    host = get_param(address, "host") or "the default socket"
    return f"{host} ({address['hostaddr']})" if "hostaddr" in address else str(host)
