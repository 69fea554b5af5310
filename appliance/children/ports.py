"""Find out whether a TCP port is free, and which process listens on it."""

import contextlib
import errno
import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path

from appliance.children.leftovers import processes

LISTEN = "0A"  # the state column of /proc/net/tcp


@dataclass(frozen=True, slots=True)
class PortOwner:
    """The process that listens on a port; fields are None where only root could find out."""

    pid: int | None
    command: str | None
    user: str | None

    def describe(self) -> str:
        """Return a text for people: ``/usr/sbin/mosquitto -c ... (pid 712)``."""
        if self.command is not None:
            return f"{self.command} (pid {self.pid})"
        if self.user is not None:
            return f"a process of the user {self.user}"
        return "another process"


def free_port(host: str) -> int:
    """Return a port that is free on ``host`` at this moment."""
    with _listen(host, 0) as listener:
        return int(listener.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Return whether we could listen on ``host:port``. Raises OSError for a foreign host or a forbidden port."""
    try:
        _listen(host, port).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener


def port_owner(port: int) -> PortOwner:
    """Return the process that listens on ``port``, on any address."""
    inodes, uids = _listeners(port)
    owner_pid = _pid_with_socket(inodes)
    if owner_pid is None:
        owner_pid = _only_process_of(uids)
    user = None
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(next(iter(uids))).pw_name if uids else None
    if owner_pid is None:
        return PortOwner(pid=None, command=None, user=user)
    command = next((" ".join(p.argv) for p in processes() if p.pid == owner_pid), None)
    return PortOwner(pid=owner_pid, command=command, user=user)


def _listeners(port: int) -> tuple[set[str], set[int]]:
    """Return the socket inodes and user ids of the listeners on ``port``."""
    inodes: set[str] = set()
    uids: set[int] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for line in lines:
            fields = line.split()
            local, state, uid, inode = fields[1], fields[3], fields[7], fields[9]
            if state == LISTEN and int(local.rpartition(":")[2], 16) == port:
                inodes.add(inode)
                uids.add(int(uid))
    return inodes, uids


def _pid_with_socket(inodes: set[str]) -> int | None:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in processes():
        folder = Path(f"/proc/{process.pid}/fd")
        with contextlib.suppress(OSError):  # not ours to look into, or gone
            for descriptor in folder.iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in wanted:
                        return process.pid
    return None


def _only_process_of(uids: set[int]) -> int | None:
    """Return the only process of the only user: without root we cannot read other users' file descriptors."""
    if len(uids) != 1 or uids == {0} or uids == {os.geteuid()}:
        return None
    (uid,) = uids
    found = []
    for process in processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process.pid}").stat().st_uid == uid:
                found.append(process.pid)
    return found[0] if len(found) == 1 else None
