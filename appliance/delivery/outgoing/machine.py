"""Addresses and networks of this machine, as its kernel has them now. Nothing is sent."""

import contextlib
import fcntl
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path

_INTERFACES_V6 = Path("/proc/net/if_inet6")
"""One line an address: in hex the address, the interface, the length of the prefix, scope and flags, then the name."""
_GET_ADDRESS, _GET_MASK = 0x8915, 0x891B
"""SIOCGIFADDR and SIOCGIFNETMASK of Linux."""
_WIDEST = {4: 8, 6: 32}
"""Bits of the widest network that is taken for one: a tunnel can be given everything, and has no neighbours."""
_DISCARD = 9
"""Any port will do."""


def is_own(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address belongs to this machine: then its own packets would come from it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _DISCARD))  # of UDP: asks the routes, and sends nothing
            return bool(probe.getsockname()[0] == str(address))
    except OSError:
        return False


def own_networks() -> Sequence[IPv4Network | IPv6Network]:
    """Return the networks that the interfaces of this machine are in: its neighbours, whatever their addresses are."""
    found: list[IPv4Network | IPv6Network] = [*_networks_v4(), *_networks_v6()]
    return [network for network in found if network.prefixlen >= _WIDEST[network.version]]


def _networks_v4() -> Iterator[IPv4Network]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            wanted = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):  # an interface without an address of this family
                found = [fcntl.ioctl(asking, which, wanted)[20:24] for which in (_GET_ADDRESS, _GET_MASK)]
                address, mask = (IPv4Address(data) for data in found)
                yield IPv4Network(f"{address}/{mask}", strict=False)


def _networks_v6() -> Iterator[IPv6Network]:
    try:
        lines = _INTERFACES_V6.read_text().splitlines()
    except OSError:  # no IPv6
        return
    for line in lines:
        address, _, prefix, *_ = line.split()
        network = ip_network((int(address, 16), int(prefix, 16)), strict=False)
        if isinstance(network, IPv6Network):
            yield network
