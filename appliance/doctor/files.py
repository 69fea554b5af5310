"""Checks of files: who may read the data folder, its identity and keys."""

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.children.data_dir import read_instance
from appliance.doctor.check import Finding, Sight, UnseenError, broken
from appliance.errors import ApplianceError
from appliance.keyring import decode

PRIVATE_FILES = ("instance.json", "keys.json", "broker-session", "clock.json", "run.json", "appliance.lock")
"""Files of the data folder that nobody but the appliance may read."""
PRIVATE_FOLDERS = ("postgres", "mosquitto", "reserve", "tls", "upgrades")
GROUP_AND_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Mode:
    """The rights on a file or a folder."""

    path: Path
    mode: int
    wanted: int
    """The most it may have."""

    @property
    def open(self) -> bool:
        """Return whether others may more than they should."""
        return bool(self.mode & ~self.wanted)


async def look_at_modes(sight: Sight) -> Sequence[Mode]:
    """Return the rights on the data folder and on what is secret in it. Raises UnseenError without one."""
    folder = sight.config.data_dir
    if not folder.is_dir():
        raise UnseenError(f"no appliance was ever started on {folder}")
    return list(modes(folder))


def modes(folder: Path) -> Iterator[Mode]:
    """Yield the rights on ``folder`` and on what is secret in it; links are left out, and what is not there."""
    # Others than root and the appliance may read the name of nothing, and children of root pass through: x.
    yield Mode(folder, stat.S_IMODE(folder.stat().st_mode), 0o755)
    for names, wanted in ((PRIVATE_FILES, 0o600), (PRIVATE_FOLDERS, 0o700)):
        for path in (folder / name for name in names):
            if path.exists() and not path.is_symlink():
                yield Mode(path, stat.S_IMODE(path.stat().st_mode), wanted)


def judge_modes(found: Sequence[Mode]) -> Iterable[Finding]:
    """Judge whether other users of the machine are kept out."""
    for each in found:
        if each.open:
            yield broken(
                f"{each.path} has the mode {each.mode:o}: other users of this machine may read or write it",
                f"`chmod {each.mode & each.wanted:o} {each.path}`, or `appliance doctor --mend`",
            )


@dataclass(frozen=True, slots=True)
class Identity:
    """What is wrong with the identity and the keys of the installation; None: nothing."""

    fault: str | None


async def look_at_identity(sight: Sight) -> Identity:
    """Return whether identity and keys can be read. Raises UnseenError on a folder that was never used."""
    folder = sight.config.data_dir
    if not (folder / "instance.json").exists() and not (folder / "keys.json").exists():
        raise UnseenError(f"no appliance was ever started on {folder}")
    try:
        read_instance(folder)
        decode((folder / "keys.json").read_bytes())
    except FileNotFoundError as error:
        return Identity(f"{error.filename} is missing: what is sealed in the database cannot be read without it")
    except ApplianceError as error:
        return Identity(str(error))
    return Identity(None)


def judge_identity(seen: Identity) -> Iterable[Finding]:
    """Judge whether the identity and the keys are there."""
    if seen.fault is not None:
        yield broken(seen.fault, "restore the file from a backup of the data folder, with the appliance stopped")


def close(found: Sequence[Mode]) -> list[Path]:
    """Take the rights away that others should not have; return what was changed. Raises OSError."""
    changed = []
    for each in found:
        if each.open:
            each.path.chmod(each.mode & each.wanted)
            changed.append(each.path)
    return changed
