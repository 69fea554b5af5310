"""A ZIP archive written while it is sent: no file of it is ever whole in memory or on disk.

What is not seekable is written with data descriptors, and ZIP64 for every member, as large ones need it. An archive
that breaks off has no directory at its end: no program opens it, so that nobody takes a part for the whole.
"""

import hashlib
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import trio

LEVEL = 6
"""Of compression: readings become an eighth, at some 30 MB a second."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first time that the format can name."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive, as the manifest names it."""

    name: str
    rows: int
    bytes: int
    sha256: str


class _Sink:
    """Takes what ``zipfile`` writes until it is sent. Without ``tell``, so that nothing is written again later."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Take a piece."""
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was taken is sent as it comes."""

    def close(self) -> None:
        """Do nothing: there is no file behind it."""

    def take(self) -> bytes:
        """Return what has come since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


class Archive:
    """The archive; ``add`` its files one after the other, then ``end`` it, and send all that both yield."""

    def __init__(self, now: datetime) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)
        self._dated = max((now.year, now.month, now.day, now.hour, now.minute, now.second), EARLIEST)
        self.members: list[Member] = []

    async def add(self, name: str, pieces: AsyncIterator[tuple[bytes, int]]) -> AsyncGenerator[bytes, None]:
        """Write a file of ``pieces``, each with its number of rows; it is compressed in a thread."""
        info = zipfile.ZipInfo(name, self._dated)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        rows, size, digest = 0, 0, hashlib.sha256()
        with self._zip.open(info, "w", force_zip64=True) as file:
            async for piece, count in pieces:
                rows, size = rows + count, size + len(piece)
                digest.update(piece)
                await trio.to_thread.run_sync(file.write, piece)
                yield self._sink.take()
        self.members.append(Member(name, rows, size, digest.hexdigest()))
        yield self._sink.take()

    def end(self) -> bytes:
        """Write the directory, and return the rest of the archive."""
        self._zip.close()
        return self._sink.take()
