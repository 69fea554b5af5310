"""Read the Dockerfile: its stages with their instructions, and what the image will be started with."""

import json
import re
import shlex
from dataclasses import dataclass

from tests.support.project import ROOT


@dataclass(frozen=True, slots=True)
class BuildStage:
    """One ``FROM`` with the instructions below it."""

    base: str
    instructions: tuple[tuple[str, str], ...]
    """Name and arguments, in order, continued lines joined and comments left out."""

    def all(self, name: str) -> list[str]:
        """Return the arguments of every instruction called ``name``."""
        return [arguments for instruction, arguments in self.instructions if instruction == name]

    def only(self, name: str) -> str:
        """Return the arguments of the only instruction called ``name``."""
        [arguments] = self.all(name)
        return arguments

    def pairs(self, name: str) -> dict[str, str]:
        """Return the KEY=VALUE pairs of all instructions called ``name``: ENV, LABEL."""
        words = [word for arguments in self.all(name) for word in shlex.split(arguments)]
        return dict(word.split("=", 1) for word in words)

    def command(self, name: str) -> list[str]:
        """Return the words of CMD or HEALTHCHECK, which must be in the exec form: no shell stands between."""
        found = re.fullmatch(r"(?:--\S+ )*(?:CMD )?(\[.*\])", self.only(name))
        assert found, f"{name} is not in the exec form"
        words: list[str] = json.loads(found[1])
        return words


def read_dockerfile() -> list[BuildStage]:
    """Return the stages of our Dockerfile, the image's own last."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    stages: list[tuple[str, list[tuple[str, str]]]] = []
    for line in filter(str.strip, text.splitlines()):
        name, _, arguments = line.strip().partition(" ")
        if name == "FROM":
            stages.append((arguments, []))
        else:
            stages[-1][1].append((name, re.sub(r"\s+", " ", arguments.strip())))
    return [BuildStage(base, tuple(instructions)) for base, instructions in stages]
