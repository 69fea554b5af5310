"""Checks of files: who may read the data folder, its identity and keys, and the certificates of the configuration."""

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from appliance.children.data_dir import read_instance
from appliance.doctor.check import Finding, Sight, UnseenError, advised, broken
from appliance.errors import ApplianceError
from appliance.keyring import decode

PRIVATE_FILES = ("instance.json", "keys.json", "broker-session", "clock.json", "run.json", "appliance.lock")
"""Files of the data folder that nobody but the appliance may read."""
PRIVATE_FOLDERS = ("postgres", "mosquitto", "reserve")
GROUP_AND_OTHERS = 0o077
WARNING = timedelta(days=30)
"""Before the end of a certificate."""


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


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file of certificates that the configuration names."""

    key: str
    path: Path
    ends: datetime | None
    """The end of the first that ends; None if the file cannot be used."""
    fault: str | None
    now: datetime | None
    """Service time; None while it is in doubt."""


async def look_at_certificates(sight: Sight) -> Sequence[CertificateFile]:
    """Return the certificates that the configuration names. Raises UnseenError if there are none.

    Whether key and certificate belong together is judged with the configuration, which every command reads.
    """
    broker, mail = sight.config.broker, sight.config.mail
    wanted = {
        "broker.ca_file": broker.ca_file,
        "broker.client_certificate_file": broker.client_certificate_file,
        "mail.ca": mail.ca,
    }
    named = {key: path for key, path in wanted.items() if path is not None}
    if not named:
        raise UnseenError("the configuration names no certificate")
    now = datetime.fromtimestamp(sight.clock.now(), UTC) if sight.clock.trusted else None
    return [_certificate(key, path, now) for key, path in named.items()]


def _certificate(key: str, path: Path, now: datetime | None) -> CertificateFile:
    try:
        ends = min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        fault = f"{path} cannot be used: {getattr(error, 'strerror', None) or error}"
        return CertificateFile(key, path, None, fault, now)
    return CertificateFile(key, path, ends, None, now)


def judge_certificates(files: Sequence[CertificateFile]) -> Iterable[Finding]:
    """Judge whether certificates can be used, now and for some weeks."""
    for each in files:
        if each.fault is not None:
            yield broken(f"{each.key}: {each.fault}", "correct the file, or the key of the configuration")
        elif each.ends is not None and each.now is not None and each.ends <= each.now + WARNING:
            text = f"{each.key}: a certificate in {each.path} ends on {each.ends:%Y-%m-%d}"
            advice = "replace the file by its renewed certificate, and start the appliance again"
            yield broken(f"{text}, which has passed", advice) if each.ends <= each.now else advised(text, advice)


def close(found: Sequence[Mode]) -> list[Path]:
    """Take the rights away that others should not have; return what was changed. Raises OSError."""
    changed = []
    for each in found:
        if each.open:
            each.path.chmod(each.mode & each.wanted)
            changed.append(each.path)
    return changed
