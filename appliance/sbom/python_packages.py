"""Python packages as they are installed, in a checkout, an image or the single file."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions

from appliance.assets import asset

OWN = "edge-appliance"
_BY_CLASSIFIER: Mapping[str, str] = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
}
"""SPDX names of what older packages say of their licence; all BSD ones of ours have three clauses."""
_HASH = re.compile(r"^([0-9a-f]{64}) [ *](\S+)\.whl$", re.MULTILINE)


def installed() -> Iterator[Distribution]:
    """Yield the packages in the order of their names, each once, without our own."""
    found = {name_of(each): each for each in distributions()}
    found.pop(OWN, None)
    yield from (found[name] for name in sorted(found))


def name_of(package: Distribution) -> str:
    """Return the normal form of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", str(package.metadata["Name"])).lower()


def licence_of(package: Distribution) -> str:
    """Return the licence as an SPDX expression, "" if the package does not say."""
    metadata = package.metadata
    if expression := _field(package, "License-Expression"):
        return expression
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line]
    # In the order in which projects under both write it.
    found = sorted({_BY_CLASSIFIER[each] for each in classifiers if each in _BY_CLASSIFIER}, reverse=True)
    stated = _field(package, "License")
    return " OR ".join(found) or (stated if re.fullmatch(r"[\w.+-]+", stated) else "")


def _field(package: Distribution, name: str) -> str:
    """Return a field that a package may lack, or \"\"."""
    found: str = package.metadata[name] if name in package.metadata else ""  # noqa: SIM401 - it has no get() for mypy
    return found


def wheel_hashes() -> Mapping[str, str]:
    """Return the SHA-256 of the wheels that were pinned, by the names of their files without the ending."""
    return {name: digest for digest, name in _HASH.findall(asset("requirements-wheels.txt").read_text())}


def hash_of(package: Distribution, wheels: Mapping[str, str]) -> str | None:
    """Return the SHA-256 of the wheel that the package was installed from; None if it is not one that was pinned."""
    tags = re.findall(r"^Tag: (\S+)$", package.read_text("WHEEL") or "", re.MULTILINE)
    start = f"{re.sub('[-.]+', '_', name_of(package))}-{package.version}-"
    for name, digest in wheels.items():
        if name.lower().startswith(start) and set(_tags(name)) & set(tags):
            return digest
    return None


def _tags(name: str) -> list[str]:
    """Return the tags that the name of a wheel stands for, which may name several of a kind at once."""
    pythons, interfaces, platforms = name.split("-")[-3:]
    return [
        f"{python}-{interface}-{platform}"
        for python in pythons.split(".")
        for interface in interfaces.split(".")
        for platform in platforms.split(".")
    ]
