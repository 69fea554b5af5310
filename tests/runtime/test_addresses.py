"""The addresses of this machine, as others reach it, and the kernel's word of a change."""

import os
import socket
import subprocess
import sys

import pytest
import trio
import trio.testing

from appliance.runtime import address_changes
from appliance.runtime.addresses import all_addresses, lan_addresses, lasting_v6
from tests.support.lan import Lan
from tests.support.project import ROOT

SCRIPT = """
import sys
import trio
from appliance.runtime.address_changes import follow_addresses
from appliance.runtime.addresses import all_addresses
from tests.support.lan import change

async def main():
    told = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(follow_addresses, lambda: told.set())
        print(*all_addresses())
        change("give", "192.168.77.5")
        change("give", "fd12:77::5")
        with trio.fail_after(30):
            await told.wait()
        print(*all_addresses())
        change("take", "192.168.77.5")
        print(*all_addresses())
        nursery.cancel_scope.cancel()

trio.run(main)
"""


def test_addresses_come_and_go_and_the_kernel_tells() -> None:
    words = [*Lan.prefix, *(() if os.geteuid() == 0 else ("--keep-caps",)), sys.executable, "-c", SCRIPT]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["", "192.168.77.5 fd12:77::5", "fd12:77::5"], done.stderr


def test_addresses_of_ipv6_that_pass_are_none_that_others_may_rely_on() -> None:
    table = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000021122fffe334455 02 40 20 80     eth0
fd120000000000000000000000000005 02 40 00 80     eth0
20010db800000000021122fffe334455 02 40 00 00     eth0
20010db80000000011112222333344aa 02 40 00 01     eth0
20010db80000000011112222333344bb 02 40 00 21     eth0
20010db80000000011112222333344cc 02 40 00 20     eth0
20010db80000000011112222333344dd 03 40 00 40     eth1
fd120000000000000000000000000005 04 40 00 80     eth2
"""
    assert lasting_v6(table) == ["fd12::5", "2001:db8::211:22ff:fe33:4455"]


def test_those_that_devices_are_told_are_among_them() -> None:
    assert {one for one in lan_addresses() if not one.startswith("127.")} <= set(all_addresses())
    assert not any(one.startswith(("127.", "fe80")) or one == "::1" for one in all_addresses())


class Deaf(socket.socket):
    """A socket of a kernel that has netlink and tells no changes, such as gVisor's."""

    def bind(self, _address: object) -> None:
        """Refuse, as that does."""
        raise PermissionError("Operation not permitted")


async def test_a_kernel_that_does_not_tell_changes_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Deaf)
    async with trio.open_nursery() as nursery:
        await nursery.start(address_changes.follow_addresses, lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
