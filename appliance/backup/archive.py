"""The archive inside a backup: a tar, so that it opens without us, in a fixed order, so that it is written as a stream.

``manifest.json`` says what it is, ``files/`` holds small files whole, ``database/`` the stream of ``pg_dump
--format=custom`` cut in parts (joined in their order, ``pg_restore`` takes them), and ``summary.json`` closes it with
the length and the hash of each. A reader knows only there that it has seen all of it.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from appliance.backup.age_file import MAGIC, AgeReader, Damaged, Sink, Source
from appliance.errors import ApplianceError

FORMAT = 1
"""Of the archive. A later one that this program cannot read has a higher number."""
PART = 1024 * 1024
"""Bytes of a part of the dump: what is held in memory at once."""
MAX_FILE = 4 * 1024 * 1024
"""Bytes of a small file at most."""
BUFFER = 256 * 1024
"""Bytes read from the disk at once."""
MANIFEST = "manifest.json"
SUMMARY = "summary.json"
FILES = "files/"
DATABASE = "database/"
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
"""Two empty blocks end a tar."""
_FILE_NAME = re.compile(r"files(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_USTAR = slice(257, 262)
"""Where a tar says that it is one."""
_ARMOR = b"-----BEGIN AGE"
"""Begins an age file in its text form, which age calls armored."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is of, and what it takes to restore it."""

    program: str
    """Version of the appliance that wrote it."""
    schema: int
    """Version of the database's schema."""
    postgres_major: int
    """Of the server that the dump was made of."""
    dump_major: int
    """Of the pg_dump that made it: a pg_restore of this version or a newer one reads it."""
    instance_id: str
    key_ids: tuple[str, ...]
    """Of the keys in ``files/keys.json``, which open what the database holds sealed."""
    ca_fingerprint: str | None
    """SHA-256 of our own CA, in hex with colons; None without TLS."""
    created_at: datetime
    """Service time."""
    clock_trusted: bool
    addresses: tuple[str, ...]
    """Where devices reach the broker: host names and addresses with ports."""
    rows: dict[str, int]
    """Rows of each table in the snapshot that the dump is made of."""
    database_bytes: int | None = None
    """Size of the database on its disk, by which a restore knows what room it takes; None: not told."""
    format: int = FORMAT


class Content(msgspec.Struct, frozen=True):
    """Length in bytes and SHA-256 in hex of something written."""

    bytes: int
    sha256: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    dump: Content
    files: dict[str, Content]
    """By name in the archive; the manifest is one of them."""


@dataclass(frozen=True, slots=True)
class File:
    """A small file; ``name`` is relative to ``files/`` and has no ``..``."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class DumpPart:
    """The next bytes of the dump."""

    data: bytes


Entry = Manifest | File | DumpPart | Summary


def write_archive(out: Sink, manifest: Manifest, files: Mapping[str, bytes], dump: Iterable[bytes]) -> Summary:
    """Write a whole archive, plain, to ``out``; return its summary. ``files`` are named relative to ``files/``.

    Errors of ``dump`` and ``out`` pass through; then what was written is no archive.
    """
    contents: dict[str, Content] = {}
    head = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    for name, data in ((MANIFEST, head), *((FILES + name, data) for name, data in files.items())):
        if len(data) > MAX_FILE or not (name == MANIFEST or _FILE_NAME.fullmatch(name)):
            raise ApplianceError(f"{name} cannot be in a backup: {len(data)} bytes, {MAX_FILE} at most")
        _member(out, name, data, manifest.created_at)
        contents[name] = Content(len(data), hashlib.sha256(data).hexdigest())
    count, digest = 0, hashlib.sha256()
    for number, part in enumerate(_parts(dump), 1):
        _member(out, _part_name(number), part, manifest.created_at)
        digest.update(part)
        count += len(part)
    summary = Summary(dump=Content(count, digest.hexdigest()), files=contents)
    _member(out, SUMMARY, msgspec.json.format(msgspec.json.encode(summary)) + b"\n", manifest.created_at)
    out.write(_END)
    return summary


def read_archive(stream: Source) -> Iterator[Entry]:
    """Yield the manifest, the files, the dump in parts, and the summary, which is held against all before it.

    Raises Damaged, and ApplianceError for the archive of a later program. Only when the iterator has ended without an
    error is everything that it has yielded what was written.
    """
    name, data = _read_member(stream)
    if name != MANIFEST:
        raise Damaged("it does not begin with a manifest")
    yield _manifest(data)
    contents = {MANIFEST: Content(len(data), hashlib.sha256(data).hexdigest())}
    name, data = _read_member(stream)
    while _FILE_NAME.fullmatch(name) and name not in contents:
        contents[name] = Content(len(data), hashlib.sha256(data).hexdigest())
        yield File(name.removeprefix(FILES), data)
        name, data = _read_member(stream)
    number, count, digest = 0, 0, hashlib.sha256()
    while name == _part_name(number + 1):
        number, count = number + 1, count + len(data)
        digest.update(data)
        yield DumpPart(data)
        name, data = _read_member(stream)
    summary = _summary(name, data)
    if summary.files != contents or summary.dump != Content(count, digest.hexdigest()):
        raise Damaged("its content is not what its summary says")
    if _exactly(stream, len(_END)) != _END or stream.read(1):
        raise Damaged("something follows its end")
    yield summary


@contextmanager
def open_backup(path: Path, passphrase: str | None) -> Iterator[Source]:
    """Yield the archive in ``path``, for :func:`read_archive`; sealed ones take the passphrase.

    Raises ApplianceError when it cannot be read, Damaged when it is no backup, WrongPassphrase; errors of the block
    that say that it is damaged are raised with its name.
    """
    with _opened(path) as file:
        try:
            head = file.read(_BLOCK)
            file.seek(0)
            if head.startswith(MAGIC):
                if passphrase is None:
                    raise ApplianceError(f"{path} is sealed: it takes the passphrase that it was made with")
                yield AgeReader(file, passphrase)
            elif head[_USTAR] == b"ustar":
                yield file
            elif head.startswith(_ARMOR):
                raise Damaged("it is an age file as text; turn it into a binary one first, with age -d and age -p")
            else:
                raise Damaged("it is no backup of an appliance" if head else "it is empty")
        except Damaged as error:
            raise Damaged(f"{path} cannot be used: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator["_BackupFile"]:
    try:
        file = path.open("rb", buffering=BUFFER)
    except OSError as error:
        raise ApplianceError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield _BackupFile(path, file)


@dataclass(frozen=True, slots=True)
class _BackupFile:
    """A file whose errors name it, and cannot be taken for those of whoever uses what was read."""

    path: Path
    file: BinaryIO

    def read(self, size: int, /) -> bytes:
        try:
            return self.file.read(size)
        except OSError as error:
            raise ApplianceError(f"{self.path} cannot be read: {error.strerror}") from error

    def seek(self, position: int) -> None:
        self.file.seek(position)


def _member(out: Sink, name: str, data: bytes | bytearray, at: datetime) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, max(0, int(at.timestamp()))
    out.write(info.tobuf(tarfile.USTAR_FORMAT))
    out.write(data)
    out.write(bytes(-len(data) % _BLOCK))


def _parts(dump: Iterable[bytes]) -> Iterator[bytearray]:
    """Yield the bytes of ``dump`` in parts of PART, the last one shorter."""
    part = bytearray()
    for chunk in dump:
        part += chunk
        while len(part) >= PART:
            yield part[:PART]
            del part[:PART]
    if part:
        yield part


def _part_name(number: int) -> str:
    return f"{DATABASE}{number:06}.part"


def _read_member(stream: Source) -> tuple[str, bytes]:
    """Return name and bytes of the next member. Raises Damaged."""
    head = _exactly(stream, _BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(head, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise Damaged("its archive is damaged, or cut off") from None
    if info.tobuf(tarfile.USTAR_FORMAT) != head or info.type != tarfile.REGTYPE or info.size > max(PART, MAX_FILE):
        raise Damaged("its archive holds what no backup has")
    data = _exactly(stream, info.size)
    if any(_exactly(stream, -info.size % _BLOCK)):
        raise Damaged("its archive is damaged")
    return info.name, data


def _exactly(stream: Source, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Damaged("it is cut off")
    return data


def _manifest(data: bytes) -> Manifest:
    """Return the manifest. Raises Damaged; ApplianceError for one of a later program."""

    class Version(msgspec.Struct):
        format: int

    try:
        if (found := msgspec.json.decode(data, type=Version).format) > FORMAT:
            raise ApplianceError(f"it was written by a later program (format {found}): update this one first")
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"its manifest cannot be read: {error}") from None


def _summary(name: str, data: bytes) -> Summary:
    if name != SUMMARY:
        raise Damaged("parts of it are missing, or in another order")
    try:
        return msgspec.json.decode(data, type=Summary)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"its summary cannot be read: {error}") from None
