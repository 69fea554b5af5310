"""A network of its own, whose addresses a test gives and takes, and commands inside of it.

``python -m tests.support.lan give 192.168.77.5 PID`` does it by ioctl: no program of the system is needed.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys

from tests.support.project import ROOT

SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCDIFADDR = 0x8914, 0x8916, 0x891C, 0x8936
IFF_UP = 0x1
LOOPBACK_INDEX = 1


class Lan:
    """The network of a process that was started with :attr:`prefix`."""

    prefix: tuple[str, ...] = (
        ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--user", "--map-current-user", "--net")
    )

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def give(self, address: str) -> None:
        """Add an address, and the loopback before."""
        self._change("give", address)

    def take(self, address: str) -> None:
        """Take an address away."""
        self._change("take", address)

    def call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command inside."""
        user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        enter = ["nsenter", "--target", str(self._pid), *user, "--net", "--", *words]
        return subprocess.run(enter, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    def _change(self, what: str, address: str) -> None:
        words = [sys.executable, "-m", "tests.support.lan", what, address, str(self._pid)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr


def change(what: str, address: str) -> None:
    """Give or take an address of the network in which we are."""
    if ":" in address:
        with socket.socket(socket.AF_INET6) as six:
            request = struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, address), 128, LOOPBACK_INDEX)
            fcntl.ioctl(six, SIOCSIFADDR if what == "give" else SIOCDIFADDR, request)
        return
    name = f"lo:{address.rpartition('.')[2]}".encode()
    with socket.socket() as four:
        fcntl.ioctl(four, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        if what == "take":
            fcntl.ioctl(four, SIOCSIFFLAGS, struct.pack("16sH14x", name, 0))
            return
        for number, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.255")):
            packed = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(four, number, packed)


def _enter(pid: str) -> None:
    """Join the network of a process. Who is not root has the right to change it until the next program is executed."""
    libc = ctypes.CDLL(None, use_errno=True)
    for namespace in ("net",) if os.geteuid() == 0 else ("user", "net"):
        descriptor = os.open(f"/proc/{pid}/ns/{namespace}", os.O_RDONLY)
        if libc.setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    _enter(sys.argv[3])
    change(*sys.argv[1:3])
