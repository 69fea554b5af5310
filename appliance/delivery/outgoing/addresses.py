"""Which addresses deliveries may reach: everything that is public, and what the operator lists.

The list is our own. ``ipaddress`` calls several forms global that lead inside, since an IPv6 address can carry an IPv4
one: those are unwrapped, and the IPv4 address is judged. Judged is always the address that is dialled, never the text
that somebody wrote.
"""

import socket
from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from appliance.delivery.outgoing.machine import is_own, own_networks

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_REFUSED_V4: Sequence[tuple[str, Sequence[str]]] = (
    ("is unspecified and leads to this machine", ("0.0.0.0/8",)),
    ("is a loopback address", ("127.0.0.0/8",)),
    # Azure answers for the machine at a public address; the others serve metadata at link-local and private ones.
    (
        "is a metadata service of a cloud",
        ("169.254.169.254/32", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"),
    ),
    ("is a link-local address", ("169.254.0.0/16",)),
    ("is a private address", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    ("is a shared address of a provider (CGNAT)", ("100.64.0.0/10",)),
    ("is an address of documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")),
    ("is a multicast address", ("224.0.0.0/4",)),
    ("is the broadcast address", ("255.255.255.255/32",)),
    ("is a reserved address", ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4")),
)
_REFUSED_V6: Sequence[tuple[str, Sequence[str]]] = (
    ("is unspecified and leads to this machine", ("::/128",)),
    ("is a loopback address", ("::1/128",)),
    ("is a metadata service of a cloud", ("fd00:ec2::254/128", "fd20:ce::254/128")),
    ("is a link-local address", ("fe80::/10",)),
    ("is a private address", ("fc00::/7", "fec0::/10")),
    ("is a private translation of addresses (NAT64)", ("64:ff9b:1::/48",)),
    ("is a multicast address", ("ff00::/8",)),
    ("is an address of documentation", ("2001:db8::/32", "3fff::/20")),
    ("is a reserved address", ("2001::/23",)),
)
_PUBLIC_V6 = IPv6Network("2000::/3")
"""Of IPv6 nothing else is given to anybody."""
REFUSED: Sequence[tuple[IPNetwork, str]] = [
    (ip_network(network), words) for words, networks in (*_REFUSED_V4, *_REFUSED_V6) for network in networks
]
"""In order: the first that holds an address names why it is refused."""

_LAST_32_BITS = (
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped: a socket of IPv6 connects by IPv4
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 7915)
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
    IPv6Network("::/96"),  # IPv4-compatible, given up
)
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The third quarter of an address whose last one is an IPv4 address (RFC 5214)."""
_32_BITS = 0xFFFF_FFFF


def embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address carries, and to which its packets lead."""
    number = int(address)
    last = IPv4Address(number & _32_BITS)
    if number <= 1:
        return ()  # unspecified and loopback look like IPv4-compatible ones
    if any(address in network for network in _LAST_32_BITS):
        return (last,)
    if address in _SIX_TO_FOUR:
        return (IPv4Address(number >> 80 & _32_BITS),)
    if address in _TEREDO:
        return (IPv4Address(number >> 64 & _32_BITS), IPv4Address(number & _32_BITS ^ _32_BITS))
    if number >> 32 & _32_BITS in _ISATAP:
        return (last,)
    return ()


class AddressPolicy:
    """Judges addresses: the list above, this machine and its neighbours, and what the operator allows."""

    def __init__(self, allowed: Collection[IPNetwork], own: Collection[IPAddress]) -> None:
        """Allow ``allowed`` whatever it holds; ``own`` are addresses of this machine that its sockets do not tell."""
        self._allowed = tuple(allowed)
        self._own = frozenset(_plain(address) for address in own)

    def listed(self, address: IPAddress) -> bool:
        """Return whether the operator lists the address, or the IPv4 one that it carries."""
        return all(any(one in network for network in self._allowed) for one in _meant(_plain(address)))

    def refusal(self, address: IPAddress) -> str | None:
        """Return why deliveries may not reach an address, as the end of a sentence; None when they may."""
        address = _plain(address)
        return None if self.listed(address) else next(self._faults(address), None)

    def _faults(self, address: IPAddress) -> Iterator[str]:
        for meant in _meant(address):
            fault = next((words for network, words in REFUSED if meant in network), None)
            if fault is None and isinstance(meant, IPv6Address) and meant not in _PUBLIC_V6:
                fault = "is a reserved address"
            if fault is None and (meant in self._own or is_own(meant)):
                fault = "is an address of this machine"
            if fault is None and any(meant in network for network in own_networks()):
                fault = "is in a network of this machine"
            if fault is not None:
                yield fault if meant == address else f"leads to {meant}, which {fault}"


def _meant(address: IPAddress) -> Sequence[IPAddress]:
    """Return what is judged of an address: the IPv4 addresses that it carries, else itself."""
    return (embedded(address) or (address,)) if isinstance(address, IPv6Address) else (address,)


def _plain(address: IPAddress) -> IPAddress:
    """Return an address without its zone (``%eth0``), which no network holds."""
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) else address


def numeric(host: str) -> IPAddress | None:
    """Return the address that a text stands for, in any form that the system's resolver reads; None: it is a name.

    ``127.1``, ``0x7f000001``, ``0177.0.0.1`` and ``2130706433`` all mean 127.0.0.1 to it.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return None
    return ip_address(found[0][4][0])
