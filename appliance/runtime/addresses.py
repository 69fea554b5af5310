"""The addresses at which other machines reach this one."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

LOOPBACK: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Hosts to listen on that stand for every address of this machine, and where this machine itself connects then."""
EVERYWHERE = LOOPBACK.keys()
_LOCAL = re.compile(r"\|--\s+(\d+\.\d+\.\d+\.\d+)\s*\n\s*/32 host LOCAL")
_INTERFACES_V6 = Path("/proc/net/if_inet6")
_PASSING = 0x01 | 0x08 | 0x20 | 0x40
"""Flags of IPv6 addresses (IFA_F_*): temporary, a duplicate, deprecated, and not known yet to be unique."""


def web_address(host: str, port: int, *, tls: bool) -> str:
    """Return the URL of a dashboard, without a path."""
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def lan_addresses() -> list[str]:
    """Return the IPv4 addresses at which others reach this machine, from the kernel's table; else the loopback."""
    try:
        table = Path("/proc/net/fib_trie").read_text()
    except OSError:
        table = ""
    found = dict.fromkeys(_LOCAL.findall(table))
    usable = [text for text in found if not ipaddress.ip_address(text).is_loopback]
    return usable or ["127.0.0.1"]


def all_addresses() -> list[str]:
    """Return the addresses at which others reach this machine, of both families and without the loopback.

    Left out of IPv6: link-local ones, which mean nothing without the name of an interface and come and go with each
    container, and temporary ones (RFC 8981), which change every day and are for connections that go out.
    """
    found = [text for text in lan_addresses() if not ipaddress.ip_address(text).is_loopback]
    try:
        table = _INTERFACES_V6.read_text()
    except OSError:  # a kernel without IPv6
        return found
    return found + lasting_v6(table)


def lasting_v6(table: str) -> list[str]:
    """Return the addresses in the content of /proc/net/if_inet6 that others may rely on."""
    return list(dict.fromkeys(filter(None, map(_lasting, table.splitlines()))))


def _lasting(line: str) -> str | None:
    fields = line.split()
    address = ipaddress.IPv6Address(bytes.fromhex(fields[0]))
    if address.is_loopback or address.is_link_local or int(fields[4], 16) & _PASSING:
        return None
    return str(address)
