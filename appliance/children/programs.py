"""Find Postgres and Mosquitto on this machine: on PATH, or where Debian installs them."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from appliance.errors import ApplianceError

OLDEST_POSTGRES = 15
OLDEST_MOSQUITTO = (2, 0, 0)
FIRST_GOOD_PERSIST_SQLITE = (2, 1, 2)
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
SYSTEM_PLACES = ("/usr/sbin", "/usr/local/sbin")  # not on the PATH of ordinary users
LIBRARY_FOLDERS = (Path("/usr/lib"), Path("/usr/local/lib"))
PERSIST_SQLITE = "mosquitto_persist_sqlite.so"


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """A folder with ``postgres`` and ``initdb`` of one major version."""

    folder: Path
    major: int


@dataclass(frozen=True, slots=True)
class PostgresClients:
    """A folder with ``pg_dump`` and ``pg_restore`` of one major version."""

    folder: Path
    major: int


@dataclass(frozen=True, slots=True)
class MosquittoProgram:
    """A broker, its version, and the plugin that writes every change to disk where there is one."""

    path: Path
    version: tuple[int, int, int]
    persist_sqlite: Path | None

    @property
    def version_text(self) -> str:
        """``2.0.11``."""
        return ".".join(map(str, self.version))


class OtherMajorError(ApplianceError):
    """The data are of a major version that is not installed, and a Postgres of another one cannot start them."""

    def __init__(self, major: int, installed: Sequence[int], room: str = "") -> None:
        """``installed`` are the major versions that are here; ``room`` says what room on the disk the way takes."""
        package = f"`apt-get install postgresql-{major}`"
        if not installed:
            super().__init__(f"The data were written by PostgreSQL {major}, which is not on this machine: {package}")
        else:
            here = " and ".join(map(str, sorted(installed)))
            super().__init__(
                f"The data were written by PostgreSQL {major}, and here is PostgreSQL {here}, which cannot start them."
                f" Take them along in a backup: `appliance backup FILE` with the program or the image that ran before,"
                f" then `appliance restore FILE --replace` with this one.{room}"
                f" Or, not in a container, install the former Postgres beside the new one: {package}"
            )
        self.major = major
        self.installed = tuple(installed)


async def find_postgres(major: int | None) -> PostgresPrograms:
    """Return the newest Postgres from 15 on, or exactly ``major`` when data of that version exist.

    Raises :class:`ApplianceError` that names the Debian package to install, OtherMajorError among them.
    """
    found: dict[int, Path] = {}
    for folder in _postgres_folders():
        version = await _ask([str(folder / "postgres"), "--version"])
        if match := re.search(r"PostgreSQL\) (\d+)", version):
            found[int(match[1])] = folder
    if major is not None:
        if major not in found:
            raise OtherMajorError(major, [version for version in found if version >= OLDEST_POSTGRES])
        return PostgresPrograms(found[major], major)
    newest = max(found, default=0)
    if newest < OLDEST_POSTGRES:
        what = f"PostgreSQL {newest} is too old" if newest else "PostgreSQL was not found"
        raise ApplianceError(
            f"{what} ({OLDEST_POSTGRES} or newer is needed): `apt-get install postgresql`, or set database.url"
        )
    return PostgresPrograms(found[newest], newest)


async def find_postgres_clients(server_major: int) -> PostgresClients:
    """Return pg_dump and pg_restore for a server: of its version, else of the next newer one that is here.

    Raises :class:`ApplianceError` that names the Debian package to install: an older pg_dump refuses a newer server.
    """
    found: dict[int, Path] = {}
    for folder in _client_folders():
        version = await _ask([str(folder / "pg_dump"), "--version"])
        if match := re.search(r"PostgreSQL\) (\d+)", version):
            found[int(match[1])] = folder
    if usable := sorted(major for major in found if major >= server_major):
        return PostgresClients(found[usable[0]], usable[0])
    newest = f"the newest pg_dump on this machine is of PostgreSQL {max(found)}" if found else "pg_dump was not found"
    raise ApplianceError(
        f"the database server is PostgreSQL {server_major}, and {newest}: "
        f"`apt-get install postgresql-client-{server_major}`"
    )


async def find_mosquitto() -> MosquittoProgram:
    """Return Mosquitto 2.0 or newer; raises :class:`ApplianceError` that names the Debian package to install."""
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(SYSTEM_PLACES))
    if path is None:
        raise ApplianceError("Mosquitto was not found: `apt-get install mosquitto`, or set broker.url")
    match = re.search(r"mosquitto version (\d+)\.(\d+)\.(\d+)", await _ask([path, "-h"]))
    if match is None:
        raise ApplianceError(f"{path} does not print its version: is it Mosquitto?")
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version < OLDEST_MOSQUITTO:
        raise ApplianceError(
            f"Mosquitto {'.'.join(map(str, version))} at {path} is too old (2.0 or newer is needed): "
            "`apt-get install mosquitto`, or set broker.url"
        )
    plugin = _persist_sqlite() if version >= FIRST_GOOD_PERSIST_SQLITE else None
    return MosquittoProgram(Path(path), version, plugin)


def _postgres_folders() -> list[Path]:
    """Return folders with both programs; the one on PATH comes last and so wins among equal versions."""
    on_path = shutil.which("postgres")
    folders = [*sorted(DEBIAN_POSTGRES.glob("*/bin")), *([Path(on_path).resolve().parent] if on_path else [])]
    return [folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()]


def _client_folders() -> list[Path]:
    """Return folders with both programs; Debian's come last and win: what is on PATH may choose a version by itself."""
    on_path = shutil.which("pg_dump")
    folders = [*([Path(on_path).parent] if on_path else []), *sorted(DEBIAN_POSTGRES.glob("*/bin"))]
    return [folder for folder in folders if (folder / "pg_dump").exists() and (folder / "pg_restore").exists()]


def _persist_sqlite() -> Path | None:
    for folder in LIBRARY_FOLDERS:
        for pattern in (PERSIST_SQLITE, f"*/{PERSIST_SQLITE}", f"*/mosquitto/{PERSIST_SQLITE}"):
            if found := next(iter(sorted(folder.glob(pattern))), None):
                return found
    return None


async def _ask(argv: list[str]) -> str:
    done = await trio.run_process(argv, capture_stdout=True, check=False)
    return done.stdout.decode(errors="replace")
