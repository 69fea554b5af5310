"""The addresses at which other machines reach this one."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

LOOPBACK: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Hosts to listen on that stand for every address of this machine, and where this machine itself connects then."""
EVERYWHERE = LOOPBACK.keys()
_LOCAL = re.compile(r"\|--\s+(\d+\.\d+\.\d+\.\d+)\s*\n\s*/32 host LOCAL")


def lan_addresses() -> list[str]:
    """Return the IPv4 addresses at which others reach this machine, from the kernel's table; else the loopback."""
    try:
        table = Path("/proc/net/fib_trie").read_text()
    except OSError:
        table = ""
    found = dict.fromkeys(_LOCAL.findall(table))
    usable = [text for text in found if not ipaddress.ip_address(text).is_loopback]
    return usable or ["127.0.0.1"]
