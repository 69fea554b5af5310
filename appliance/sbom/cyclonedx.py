"""The document: CycloneDX 1.6 as JSON."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from appliance import __version__
from appliance.sbom import debian_packages, python_packages
from appliance.sbom.debian_packages import DebianPackage

Component = Mapping[str, Any]


def document(root: Path) -> Mapping[str, Any]:
    """Return the bill of materials of this process and of the system below ``root``."""
    release = debian_packages.release(root)
    components = [
        *_python(),
        *[_debian(package, release) for package in debian_packages.installed(root)],
    ]
    own: dict[str, Any] = {
        "type": "application",
        "bom-ref": f"pkg:pypi/{python_packages.OWN}@{__version__}",
        "name": python_packages.OWN,
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    # Of its content, so that two builds of the same are equal; the time of the build is left out for the same reason.
    number = uuid5(NAMESPACE_URL, "\n".join([own["bom-ref"], *[each["bom-ref"] for each in components]]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {"component": own},
        "components": components,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": sorted(each["bom-ref"] for each in components)}],
    }


def _python() -> Sequence[Component]:
    version = platform.python_version()
    interpreter = _component("platform", "python", version, f"pkg:generic/python@{version}", "PSF-2.0", None)
    wheels = python_packages.wheel_hashes()
    packages = [
        _component(
            "library",
            python_packages.name_of(each),
            each.version,
            f"pkg:pypi/{python_packages.name_of(each)}@{quote(each.version)}",
            python_packages.licence_of(each),
            python_packages.hash_of(each, wheels),
        )
        for each in python_packages.installed()
    ]
    return [interpreter, *packages]


def _debian(package: DebianPackage, release: Mapping[str, str]) -> Component:
    system, number = release.get("ID", "debian"), release.get("VERSION_ID", "")
    where = f"?arch={package.architecture}" + (f"&distro={system}-{number}" if number else "")
    address = f"pkg:deb/{system}/{quote(package.name)}@{quote(package.version)}{where}"
    made = dict(_component("library", package.name, package.version, address, "", package.sha256))
    if package.licences:
        made["licenses"] = [{"license": {"name": name}} for name in package.licences]
    return made


def _component(kind: str, name: str, version: str, address: str, licence: str, sha256: str | None) -> Component:
    made: dict[str, Any] = {"type": kind, "bom-ref": address, "name": name, "version": version, "purl": address}
    if sha256 is not None:
        made["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    if licence:
        made["licenses"] = [{"expression": licence}]
    return made
