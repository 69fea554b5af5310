"""A certificate by file: read from where the configuration says, checked, and copied for the listener."""

import os
import ssl
import stat
from datetime import datetime
from pathlib import Path

from appliance.children.files import write_atomically
from appliance.tls.configured import Source
from appliance.tls.pair import Files, Pair, PairError, read_pair

MAX_BYTES = 1024 * 1024
"""Of a file of certificates."""


class FileCertificate:
    """A certificate by file. Reads and writes files: call it in a thread."""

    def __init__(self, source: Source, copy: Path) -> None:
        """``copy``: the file that the listener reads."""
        self.source = source
        self.copy = copy
        self._seen: tuple[bytes, bytes] | None = None
        self._pair: Pair | None = None

    def refresh(self, now: datetime | None) -> Pair:
        """Return what the files hold, copied if it is new. Raises PairError, then the copy stays as it is; OSError.

        ``now``: service time; None while it is in doubt. What has been taken is not refused later, whatever the time.
        """
        files = self.source.files
        content = contents_of(files)
        if self._pair is not None and content == self._seen:
            return self._pair
        pair = read_pair(*content, files, now)
        write_atomically(self._candidate, pair.pem)
        try:
            # OpenSSL has the last word, as a listener will ask it: it knows of digests that are too weak.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._candidate)
        except ssl.SSLError as error:
            reason = (error.reason or "not accepted").replace("_", " ").lower()
            raise PairError(f"{files.certificate} cannot be used ({reason}): have it issued anew") from None
        self._candidate.replace(self.copy)
        self._seen, self._pair = content, pair
        return pair

    @property
    def _candidate(self) -> Path:
        return self.copy.with_suffix(".new")


def contents_of(files: Files) -> tuple[bytes, bytes]:
    """Return what both files hold. Raises PairError."""
    return _read(files.certificate, secret=False), _read(files.key, secret=True)


def _read(path: Path, *, secret: bool) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not hold us here
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PairError(f"{path} is not a regular file: name one that holds the PEM text")
            if secret and status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise PairError(
                    f"{path} holds a private key, and everybody may use it (mode {mode}): chmod o-rw {path}"
                )
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PairError(f"{path} cannot be read ({error.strerror}): the appliance's user must be able to") from None
    if len(content) > MAX_BYTES:
        raise PairError(f"{path} is larger than {MAX_BYTES} bytes: name the file with the PEM text")
    return content
