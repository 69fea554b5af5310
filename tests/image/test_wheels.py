"""Every pinned package has a wheel for both architectures of the image, so that nothing is compiled on either."""

import re
from dataclasses import dataclass
from itertools import product

import pytest

from tests.support.project import ROOT

PYTHONS = (11, 12, 13)
"""Minor versions of Python 3 that are supported."""
ARCHITECTURES = ("x86_64", "aarch64")
AGAIN = "requirements.txt has changed: run .ci/wheels, which writes requirements-wheels.txt anew"
GLIBC = 36
"""The minor version of glibc 2 in Debian 12."""
MANYLINUX_2014 = 17
"""Of glibc 2: manylinux2014 is another name of manylinux_2_17."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel by the parts of its name."""

    package: str
    version: str
    python: str
    abi: str
    platforms: str

    def suits(self, minor: int, architecture: str) -> bool:
        """Return whether Python 3.``minor`` on ``architecture`` installs it."""
        if (self.abi, self.platforms) == ("none", "any"):
            return "py3" in self.python.split(".")
        return self._suits_python(minor) and any(
            _suits_machine(platform, architecture) for platform in self.platforms.split(".")
        )

    def _suits_python(self, minor: int) -> bool:
        found = re.fullmatch(r"cp3(\d+)", self.python)
        if found is None:
            return False
        return int(found[1]) <= minor if self.abi == "abi3" else self.abi == self.python == f"cp3{minor}"


def _suits_machine(platform: str, architecture: str) -> bool:
    glibc = re.fullmatch(rf"manylinux(?:_2_(\d+)|2014)_{architecture}", platform)
    return glibc is not None and int(glibc[1] or MANYLINUX_2014) <= GLIBC


def _wheels() -> dict[str, Wheel]:
    """Return the recorded wheels by their hash."""
    found = {}
    for line in (ROOT / "requirements-wheels.txt").read_text().splitlines():
        if not line.startswith("#"):
            digest, name = line.split()
            package, version, *_, python, abi, platforms = name.removesuffix(".whl").split("-")
            found[digest] = Wheel(package.replace("_", "-").lower(), version, python, abi, platforms)
    return found


def _pins() -> dict[tuple[str, str], set[str]]:
    """Return the hashes of every pinned package, by its name and version."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.txt").read_text())
    heads = [(re.match(r"([a-z0-9-]+)==(\S+)", entry), entry) for entry in entries]
    return {(head[1], head[2]): set(re.findall(r"sha256:(\w{64})", entry)) for head, entry in heads if head}


WHEELS, PINS = _wheels(), _pins()


@pytest.mark.parametrize(("package", "version"), PINS)
def test_it_has_a_wheel_for_each_python_and_architecture_by_its_pinned_hash(package: str, version: str) -> None:
    own = [wheel for digest, wheel in WHEELS.items() if digest in PINS[package, version]]
    assert {(wheel.package, wheel.version) for wheel in own} == {(package, version)}, AGAIN
    places = list(product(PYTHONS, ARCHITECTURES))
    assert [place for place in places if not any(wheel.suits(*place) for wheel in own)] == []


def test_none_is_recorded_that_is_not_pinned() -> None:
    assert set(WHEELS) <= set().union(*PINS.values()), AGAIN
    assert len(PINS) >= 30


def test_a_wheel_for_another_machine_or_python_does_not_suit() -> None:
    compiled = Wheel("p", "1", "cp312", "cp312", "manylinux_2_28_aarch64")
    assert compiled.suits(12, "aarch64")
    assert not compiled.suits(12, "x86_64")
    assert not compiled.suits(11, "aarch64")
    assert not Wheel("p", "1", "cp312", "abi3", "manylinux_2_28_aarch64").suits(11, "aarch64")
    assert not Wheel("p", "1", "cp312", "cp312", "manylinux_2_39_aarch64").suits(12, "aarch64")
    assert not Wheel("p", "1", "cp312", "cp312", "musllinux_1_2_aarch64").suits(12, "aarch64")
