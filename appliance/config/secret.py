"""Secrets: a type that masks its value, the files they are kept in, and the well-known ones to refuse."""

import hmac
import os
import stat
from pathlib import Path
from typing import final

MASK = "********"
MIN_LENGTH = 12
"""Characters of a password; the same minimum as for people (NIST SP 800-63B asks for at least 8)."""
_MAX_FILE = 65_536
"""Bytes of a secret file at most; a larger one is not a secret file."""
_SAMPLES = frozenset(
    {"changeme", "changeme1234", "changemeplease", "change-me-please", "default", "example", "mosquitto", "password"}
    | {"password1234", "passwordpassword", "placeholder", "postgres", "postgresql", "replaceme", "sample", "secret"}
    | {"supersecret", "topsecret", "yourpassword", "your-password", "your_password", "123456789012", "1234567890"}
)
"""Passwords of examples and images, which intruders try first."""


@final
class Secret:
    """Text that is masked wherever it is shown: in ``repr``, ``str``, formatting, logs and JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself, for the one place that needs it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


def weakness(password: str) -> str | None:
    """Return what is wrong with a password, without telling it; None when nothing is."""
    if password.lower() in _SAMPLES or len(set(password)) == 1:
        return "is a sample that everybody knows; choose a random one"
    if len(password) < MIN_LENGTH:
        return f"is too short; at least {MIN_LENGTH} characters are needed"
    return None


def check_readers(document: Path, key: str) -> None:
    """Raise ValueError for a configuration file with a secret that every user of the machine may read."""
    try:
        mode = document.stat().st_mode
    except OSError as error:
        raise ValueError(f"cannot read {document}: {error.strerror}") from None
    if mode & stat.S_IROTH:
        raise ValueError(
            f"everybody may read {document} (mode {mode & 0o777:04o}); run: chmod o-r {document}, or give {key}_file"
        )


def read_secret_file(path: Path) -> str:
    """Return the only line of a file that is closed to others. Raises ValueError with the fault and its remedy."""
    try:
        # O_NONBLOCK: a FIFO without a writer must not hold us here
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            mode = status.st_mode
            if not stat.S_ISREG(mode):
                raise ValueError(f"{path} is not a regular file")
            if is_open_to_others(mode, owner=status.st_uid, reader=os.geteuid()):
                raise ValueError(f"others may read {path} (mode {mode & 0o777:04o}); run: chmod 600 {path}")
            content = os.read(descriptor, _MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    return _only_line(content, path)


def is_open_to_others(mode: int, *, owner: int, reader: int) -> bool:
    """Return whether a file that user id ``reader`` may read can be read or changed by others.

    Of a file of root its group may read, as of one that an orchestrator mounts for a container: whoever is in that
    group was put there for it. PostgreSQL asks the same of the keys of its servers.
    """
    return bool(mode & (0o037 if owner == 0 and reader != 0 else 0o077))


def _only_line(content: bytes, path: Path) -> str:
    if len(content) > _MAX_FILE:
        raise ValueError(f"{path} is larger than {_MAX_FILE} bytes")
    try:
        line = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not line:
        raise ValueError(f"{path} is empty")
    if not line.isprintable():
        raise ValueError(f"{path} must hold one line without control characters")
    return line
