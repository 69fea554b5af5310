"""Programs are found, and a missing one names the package that brings it."""

from pathlib import Path

import pytest

from appliance.children import programs
from appliance.children.programs import OtherMajorError, find_mosquitto, find_postgres
from appliance.errors import ApplianceError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing installed; the folder is on PATH."""
    monkeypatch.setattr(programs, "DEBIAN_POSTGRES", tmp_path / "postgresql")
    monkeypatch.setattr(programs, "SYSTEM_PLACES", ())
    monkeypatch.setattr(programs, "LIBRARY_FOLDERS", (tmp_path / "lib",))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(path: Path, says: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit 3\n")
    path.chmod(0o755)


def install_postgres(folder: Path, version: str) -> None:
    install(folder / "postgres", f"postgres (PostgreSQL) {version} (Debian)")
    install(folder / "initdb", "")


@pytest.mark.usefixtures("bare")
async def test_what_is_missing_names_its_package() -> None:
    with pytest.raises(ApplianceError, match="apt-get install postgresql`"):
        await find_postgres(None)
    with pytest.raises(ApplianceError, match="apt-get install mosquitto`"):
        await find_mosquitto()


async def test_the_newest_postgres_serves_new_data_and_the_same_serves_old(bare: Path) -> None:
    for major in ("9.6", "15", "17"):
        install_postgres(bare / "postgresql" / major / "bin", f"{major}.1")
    assert (await find_postgres(None)).major == 17
    assert (await find_postgres(15)).folder == bare / "postgresql" / "15" / "bin"
    with pytest.raises(OtherMajorError, match=r"by PostgreSQL 16, and here is PostgreSQL 15 and 17, which"):
        await find_postgres(16)


async def test_data_of_a_postgres_that_is_not_here_name_its_package(bare: Path) -> None:
    with pytest.raises(OtherMajorError, match="not on this machine: `apt-get install postgresql-16`"):
        await find_postgres(16)
    install_postgres(bare / "postgresql" / "14" / "bin", "14.1")
    with pytest.raises(OtherMajorError, match="not on this machine: `apt-get install postgresql-16`"):
        await find_postgres(16)


async def test_what_is_too_old_is_refused(bare: Path) -> None:
    install_postgres(bare, "14.9")
    install(bare / "mosquitto", "mosquitto version 1.6.12")
    with pytest.raises(ApplianceError, match=r"PostgreSQL 14 is too old \(15 or newer"):
        await find_postgres(None)
    with pytest.raises(ApplianceError, match=r"Mosquitto 1\.6\.12 .* is too old"):
        await find_mosquitto()


@pytest.mark.parametrize(("version", "used"), [("2.0.21", False), ("2.1.0", False), ("2.1.2", True), ("2.10.0", True)])
async def test_the_sqlite_store_is_used_from_the_version_on_that_keeps_its_word(
    bare: Path, version: str, used: bool
) -> None:
    install(bare / "mosquitto", f"mosquitto version {version}")
    plugin = bare / "lib" / "x86_64-linux-gnu" / "mosquitto_persist_sqlite.so"
    install(plugin, "")
    found = await find_mosquitto()
    assert found.version_text == version
    assert found.persist_sqlite == (plugin if used else None)
