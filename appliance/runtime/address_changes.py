"""Tells when an address of this machine comes or goes: the kernel says so over netlink (rtnetlink(7))."""

import socket
from collections.abc import Callable

import structlog
import trio

from appliance.runtime.activity import activity

_IPV4_ADDRESSES, _IPV6_ADDRESSES = 0x10, 0x100
"""Groups of messages: RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR."""
_BUFFER = 65_536
SETTLE_SECONDS = 0.5
"""Seconds after a message until it is told: an interface that comes up has several addresses."""

log = structlog.get_logger(__name__)


async def follow_addresses(
    changed: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call ``changed`` after each change, for ever. Where the kernel has no netlink, never."""
    task_status.started()
    try:
        netlink = _open_netlink()
    except OSError as error:
        log.info("changes of addresses are not told at once", cause=str(error))
        activity().doing("the kernel does not tell changes of addresses")
        await trio.sleep_forever()
    with netlink:
        while True:
            activity().doing("waits for a change of addresses")
            await trio.lowlevel.wait_readable(netlink)
            await trio.sleep(SETTLE_SECONDS)
            _drain(netlink)
            changed()


def _open_netlink() -> socket.socket:
    """Return a socket that hears of addresses. Raises OSError: gVisor has netlink, and refuses to tell of changes."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        netlink.setblocking(False)
        netlink.bind((0, _IPV4_ADDRESSES | _IPV6_ADDRESSES))
    except OSError:
        netlink.close()
        raise
    return netlink


def _drain(netlink: socket.socket) -> None:
    """Read what is there: all of it says the same."""
    while True:
        try:
            netlink.recv(_BUFFER)
        except BlockingIOError:
            return
        except OSError as error:  # more than it could hold: some of it is lost
            log.debug("messages of the kernel are lost", error=str(error))
