"""Packages of a Debian or what is made from it, as ``dpkg`` has them installed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

STATUS = "var/lib/dpkg/status"
PINNED = "usr/share/appliance/debian-packages"
"""What ``apt-cache show`` said when the image was built: the only place where the hashes of packages are kept."""
COPYRIGHT = "usr/share/doc/{}/copyright"
LICENCE = re.compile(r"^License: *([^\s,].*?) *$", re.MULTILINE)
"""In a copyright file in the machine-readable form of Debian."""


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """An installed package."""

    name: str
    version: str
    architecture: str
    licences: tuple[str, ...]
    """As its copyright file names them, in Debian's words; the file itself if only people can read it."""
    sha256: str | None
    """Of the package's file; None where it is not known any more."""


def installed(root: Path) -> Iterator[DebianPackage]:
    """Yield the packages of the system below ``root`` in the order of their names; none where there is no dpkg."""
    path = root / STATUS
    if not path.is_file():
        return
    hashes = {
        (each["Package"], each["Version"]): each["SHA256"]
        for each in _paragraphs(root / PINNED)
        if {"Package", "Version", "SHA256"} <= each.keys()
    }
    for each in sorted(_paragraphs(path), key=lambda one: one["Package"]):
        if each.get("Status", "").endswith(" installed"):
            name, version = each["Package"], each["Version"]
            yield DebianPackage(name, version, each["Architecture"], _licences(root, name), hashes.get((name, version)))


def release(root: Path) -> Mapping[str, str]:
    """Return what os-release says of the system below ``root``."""
    try:
        lines = (root / "etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip('"') for line in lines for name, found, value in [line.partition("=")] if found}


def _paragraphs(path: Path) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a control file, of each field its first line."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    # apt-cache leaves nothing between paragraphs that were filtered: each begins with its name
    for paragraph in re.split(r"\n(?:\n+|(?=Package: ))", text):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", paragraph, re.MULTILINE))
        if "Package" in fields:
            yield fields


def _licences(root: Path, name: str) -> tuple[str, ...]:
    try:
        text = (root / COPYRIGHT.format(name)).read_text(errors="replace")
    except OSError:
        return ()
    return tuple(sorted(set(LICENCE.findall(text)))) or (f"see /{COPYRIGHT.format(name)}",)
