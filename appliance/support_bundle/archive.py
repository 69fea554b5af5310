"""The file itself: a ZIP archive, whose first member is the listing of the others."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

LISTING = "CONTENTS.txt"
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first time that the format can name."""
LEFT_OUT = """\
Not in it: passwords, tokens, keys and certificates; messages and values of readings; names and addresses of people, of
tenants, sites and devices; URLs beyond their host. Where a text names a tenant, a site or a device, it has a number,
which means nothing outside this file. Log lines are not in it either: the appliance writes them to its standard output
and keeps none (journalctl, docker logs). Read them before you send them along.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the bundle, or why it is missing."""

    name: str
    purpose: str
    content: bytes | None
    reason: str = ""
    """Why there is no content."""


def as_json(value: Any) -> bytes:
    """Return ``value`` as JSON for people."""
    return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode()


def listing(parts: Sequence[Part], heading: str) -> str:
    """Return what is in the bundle, what is missing, and what never is in one."""
    lines = [heading, ""]
    for part in parts:
        if part.content is not None:
            digest = hashlib.sha256(part.content).hexdigest()
            lines += [f"{part.name}  ({len(part.content):,} bytes)", f"    {part.purpose}", f"    SHA-256 {digest}"]
    missing = [part for part in parts if part.content is None]
    if missing:
        lines += ["", "Missing:"]
        lines += [f"{part.name}: {part.purpose} {part.reason}" for part in missing]
    return "\n".join([*lines, "", LEFT_OUT])


def write(parts: Sequence[Part], heading: str, now: datetime) -> bytes:
    """Return the archive, dated ``now``."""
    dated = max((now.year, now.month, now.day, now.hour, now.minute, now.second), EARLIEST)
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        members = [(LISTING, listing(parts, heading).encode())]
        members += [(part.name, part.content) for part in parts if part.content is not None]
        for name, content in members:
            info = zipfile.ZipInfo(name, dated)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            archive.writestr(info, content)
    return whole.getvalue()
