"""SQL by name: ``sql/queries/<package>.sql`` holds the statements of a package, each under ``-- name: <name>``.

A test prepares every one of them against a migrated database, and fails for one that nobody uses.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.assets import asset

_NAME = re.compile(r"^-- name: (.*)$", re.MULTILINE)
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class Statements(Mapping[str, str]):
    """The statements of one package: ``statements["insert_thing"]``. An unknown name raises KeyError."""

    def __init__(self, package: str, by_name: Mapping[str, str]) -> None:
        self.package = package
        self._by_name = dict(by_name)

    def __getitem__(self, name: str) -> str:
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"no statement {name} in sql/queries/{self.package}.sql") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def load(package: str, folder: Path | None = None) -> Statements:
    """Return the statements in ``<package>.sql``. Raises ValueError if the file is not made of named statements."""
    path = (folder or asset("sql", "queries")) / f"{package}.sql"
    return Statements(package, parse(path.read_text("utf-8"), path.name))


def parse(text: str, origin: str) -> dict[str, str]:
    """Return the statements by name, without comment lines (a per cent sign there would read as a parameter)."""
    preamble, *rest = _NAME.split(text)
    if _body(preamble):
        raise ValueError(f"{origin}: a statement stands before the first '-- name:'")
    statements: dict[str, str] = {}
    for name, body in zip(map(str.strip, rest[::2]), map(_body, rest[1::2]), strict=True):
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{origin}: {name!r} is no name for a statement")
        if name in statements:
            raise ValueError(f"{origin}: {name} is there twice")
        if not body:
            raise ValueError(f"{origin}: {name} has no statement")
        statements[name] = body
    return statements


def _body(text: str) -> str:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().removesuffix(";").rstrip()
