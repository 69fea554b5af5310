"""The names and addresses that a certificate is for, and which of them our authority may sign."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509

IPAddress = IPv4Address | IPv6Address

PRIVATE_DOMAINS = ("local", "localhost", "lan", "home.arpa", "internal")
"""Domains that nobody on the Internet owns: mDNS (RFC 6762), RFC 6761, RFC 8375, one that ICANN keeps for private use,
and what many routers call their network."""
MOST_ADDRESSES = 100
"""Addresses in one certificate: a handshake carries them all, and small devices have little memory."""
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate is for: host names in lower case, and addresses, each once and in a fixed order."""

    hosts: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """Return all of them as people write them."""
        return (*self.hosts, *map(str, self.addresses))

    def covers(self, other: "Names") -> bool:
        """Return whether all of ``other`` are among these."""
        return set(other.texts) <= set(self.texts)

    def within(self, domains: Iterable[str]) -> "Names":
        """Return these without the host names outside ``domains``. Addresses are all within."""
        allowed = tuple(domains)
        return Names(tuple(host for host in self.hosts if is_within(host, allowed)), self.addresses)

    def general(self) -> list[x509.GeneralName]:
        """Return them in the form of a certificate."""
        return [*map(x509.DNSName, self.hosts), *map(x509.IPAddress, self.addresses)]


def names_of(texts: Iterable[str]) -> Names:
    """Return the names among ``texts``: host names and addresses. What can be neither is left out."""
    hosts: dict[str, None] = {}
    addresses: dict[IPAddress, None] = {}
    for text in texts:
        address = _address(text)
        if address is not None:
            addresses[address] = None
        elif is_host_name(text):
            hosts[text.lower().rstrip(".")] = None
    return Names(tuple(hosts), tuple(addresses)[:MOST_ADDRESSES])


def machine_names(host_name: str, addresses: Iterable[str], configured: Iterable[str]) -> Names:
    """Return what this machine is called: by the configuration, by its own name, over mDNS, by itself, by others."""
    first = host_name.partition(".")[0]
    own = (host_name, f"{first}.local", "localhost", "127.0.0.1", "::1")
    return names_of((*configured, *own, *addresses))


def names_in(certificate: x509.Certificate) -> Names:
    """Return the names that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names()
    addresses = [one for one in extension.get_values_for_type(x509.IPAddress) if isinstance(one, IPAddress)]
    return Names(tuple(extension.get_values_for_type(x509.DNSName)), tuple(addresses))


def is_host_name(text: str) -> bool:
    """Return whether ``text`` can be a host name: labels of ASCII letters, digits, hyphens and underscores."""
    labels = text.lower().rstrip(".").split(".")
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def is_within(host: str, domains: Iterable[str]) -> bool:
    """Return whether a host name is one of ``domains`` or below one of them (RFC 5280, 4.2.1.10)."""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _address(text: str) -> IPAddress | None:
    try:
        return ip_address(text.partition("%")[0])  # without the name of an interface, which means nothing elsewhere
    except ValueError:
        return None
