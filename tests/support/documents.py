"""The documents of this project: their links, the commands in them, and which of these no test runs and why."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.project import ROOT

DOCUMENTS = tuple(
    str(path.relative_to(ROOT)) for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
)
GUIDES = tuple(name for name in DOCUMENTS if name != "CHANGELOG.md")
"""Those that say how it is; the changelog says how it was."""

TRIED = (
    "README.md",
    "docs/quick-start.md",
    "docs/operators-guide.md",
    "docs/alerts.md",
    "docs/devices.md",
    "docs/api.md",
    "docs/doctor.md",
)
"""Those whose commands are run, in this order, against one appliance: ``tests/system/test_document_commands.py``."""

NOT_RUN: Mapping[str, str] = {
    "make ": "works on the machine and its packages: people and the build run it",
    "docker ": "needs a container engine; `make image` and tests/image try what it would run",
    "git ": "fetches from a server",
    "sudo ": "changes files of another user",
    "curl -o ca.crt http://ADDRESS": "needs TLS on: tests/system/test_tls.py",
    "openssl x509 -in ca.crt": "needs TLS on: tests/system/test_tls.py",
    "appliance ca": "needs TLS on: tests/system/test_tls.py",
    "mosquitto_pub -h ADDRESS": "needs TLS on: tests/system/test_tls.py",
    "curl --cacert ca.crt": "needs TLS on: tests/system/test_tls.py",
    "appliance backup ": "needs a passphrase and a folder: tests/cli/test_backup.py",
    "appliance restore ": "needs a backup: tests/system/test_restore.py",
    "age -d ": "needs a terminal: tests/backup/test_writing.py",
    "tar -x": "needs a decrypted backup: tests/backup/test_writing.py",
    "createdb ": "needs a server of the reader's own",
    "debootstrap ": "makes a whole Debian; `make binary ROOTFS=DIR` tries the file in one",
    "chroot ": "works in that Debian",
    "mkdir ": "prepares a command that is not run",
    "echo '": "prepares a command that is not run",
    ".venv/bin/appliance support-bundle": "leaves a file behind: tests/cli/test_support_bundle.py",
    ".venv/bin/appliance doctor --json | jq": "needs jq, which not every machine has",
}
"""How the lines begin that no test runs, each with the reason why not."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


def text(name: str) -> str:
    """Return a document."""
    return (ROOT / name).read_text()


def blocks(name: str, language: str) -> list[str]:
    """Return the fenced blocks of a document in a language."""
    return [code for found, code in _FENCE.findall(text(name)) if found == language]


def prose(name: str) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", text(name))


def commands(name: str) -> list[str]:
    """Return the shell commands of a document; one that goes over several lines is one."""
    lines = "".join(blocks(name, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def to_run(name: str) -> list[str]:
    """Return those that a test can run."""
    return [line for line in commands(name) if not line.startswith(tuple(NOT_RUN))]


def code(name: str) -> list[str]:
    """Return every piece of code in a document: lines of shell blocks, and what stands between backquotes."""
    return commands(name) + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(name))


def links(name: str) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor of each link into this project; the anchor is empty if there is none."""
    for link in _LINK.findall(prose(name)):
        path, _, anchor = link.partition("#")
        yield ((ROOT / name).parent / path if path else ROOT / name), anchor


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a document, as GitHub and others make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", path.read_text())):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (unique := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(unique)
    return found
