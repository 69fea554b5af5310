"""What is in a root file system, and what a box takes of its machine."""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.sbom import debian_packages

COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "ld", "as", "make", "cpp", "rustc", "go", "pip", "pip3")
MB = 1_000_000
KEY = rb"^-----BEGIN ([A-Z]+ )?PRIVATE KEY-----$"
LARGEST_KEY = 65_536
"""Bytes of a file that may be a key."""
SECRET_NAMES = frozenset(
    {".env", ".git-credentials", ".netrc", ".npmrc", ".pypirc", "credentials", "id_ecdsa", "id_ed25519", "id_rsa"}
    | {"instance.json", "keys.json", "pip.conf"}
)
WRITTEN = frozenset({"etc", "home", "root", "srv", "tmp", "var"})
"""Folders that a build writes to; what Debian and the appliance ship has examples of addresses in it."""
IN_AN_ADDRESS = rb"\b[a-z][a-z0-9+.-]+://[\w.%+-]+:(?!PASSWORD@)[^\s/@:\"'{}<>$%]{8,}@[\w.-]+"
TCP_LISTEN = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000")


def _files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            yield str(path.relative_to(root)), path.lstat()


def size(root: Path, base: Path | None) -> str:
    """Return the size of all files for people, and of those that ``base`` does not have like that."""
    sizes = {name: found.st_size for name, found in _files(root)}
    text = f"{sum(sizes.values()) / MB:.0f} MB"
    if base is None:
        return text
    below = {name: found.st_size for name, found in _files(base)}
    added = sum(size for name, size in sizes.items() if below.get(name) != size)
    return f"{text}, {added / MB:.0f} MB of them above its base"


def with_other_rights(root: Path) -> list[str]:
    """Return the files that run as another user or group than who starts them."""
    return [name for name, found in _files(root) if stat.S_ISREG(found.st_mode) and found.st_mode & 0o6000]


def compilers(root: Path) -> list[str]:
    """Return the programs that make other programs, or install them."""
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/appliance/bin")
    return [f"{folder}/{name}" for folder in folders for name in COMPILERS if os.path.lexists(root / folder / name)]


def private_keys(root: Path) -> list[str]:
    """Return the files with a private key: whoever has the image has it."""
    small = [name for name, found in _files(root) if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_KEY]
    return [name for name in small if re.search(KEY, (root / name).read_bytes(), re.MULTILINE)]


def secrets(root: Path) -> list[str]:
    """Return the files that hold a secret by their name, and those with a password in an address."""
    found = []
    for name, status in _files(root):
        path = root / name
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_KEY:
            continue
        if path.name in SECRET_NAMES or (
            name.partition("/")[0] in WRITTEN and re.search(IN_AN_ADDRESS, path.read_bytes())
        ):
            found.append(name)
    return found


def bill_of_materials(root: Path) -> Mapping[str, int]:
    """Return what the bill of materials lists, and how much of it without version, licence or hash.

    Raises SystemExit where Debian's list has a package that it has not.
    """
    parts = json.loads((root / "usr/share/appliance/sbom.cdx.json").read_text())["components"]
    listed = {each["name"] for each in parts if each["purl"].startswith("pkg:deb/")}
    packages = {each.name for each in debian_packages.installed(root)}
    if listed != packages or not packages:
        raise SystemExit(f"FAILED  the bill of materials is that of the packages: {sorted(listed ^ packages)}")
    python = [each for each in parts if each["purl"].startswith("pkg:pypi/")]
    return {
        "packages of Debian": len(listed),
        "packages of Python": len(python),
        "without version": sum("version" not in each for each in parts),
        "of Python without licence or hash": sum(not {"licenses", "hashes"} <= each.keys() for each in python),
        "of Debian without hash": sum("hashes" not in each for each in parts) - 1,
        "of Debian without a licence that can be read": sum("licenses" not in each for each in parts),
    }


def listening() -> set[int]:
    """Return the TCP ports that others can reach in our network, of both versions of IP."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port = local.partition(":")
            if state == TCP_LISTEN and address not in LOOPBACK:
                found.add(int(port, 16))
    return found


def memory(process: Path) -> int:
    """Return the bytes of a process, what it shares divided by those that share it."""
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
