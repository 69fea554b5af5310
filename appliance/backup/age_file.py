"""The age format, version 1, with one passphrase: files of any size, written and read as streams.

The format is that of https://c2sp.org/age, so that any ``age`` opens what is written here: a header of text with the
key of the file, sealed with scrypt and ChaCha20-Poly1305, and authenticated with HMAC; then chunks of 64 KiB, each
sealed with its number and with whether it is the last. So a file that was cut, lengthened or changed is refused, at the
latest when its end is read: whoever reads must not use anything before that, or be able to take it back.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from appliance.errors import ApplianceError

MAGIC = b"age-encryption.org/v1\n"
"""The first line of every age file."""
WORK_FACTOR = 15
"""Of scrypt, as a power of two: 32 MiB of memory and 0.1 s, so that a backup stays below 100 MB. ``age`` takes 18,
eight times as much, which is worth half a character of a random passphrase."""
MAX_WORK_FACTOR = 22
"""The highest that is read, as by ``age``: 4 GiB of memory. Higher ones are refused before any work."""
CHUNK = 65_536
"""Bytes of plain text in a chunk; the last has fewer, or as many."""
TAG = 16
"""Bytes that sealing adds to each chunk."""
_SEALED = CHUNK + TAG
_LAST_CHUNK_NUMBER = 2**88 - 1
_FILE_KEY = 16
_NONCE = 16
_SALT = 16
_BODY = _FILE_KEY + TAG
_MAC = 32
_MAX_LINE = 256
"""Bytes of a line of the header; those of ours have 80 at most."""
_NO_NONCE = bytes(12)
"""The key that it is used with seals one thing alone."""
_BLOCK = 128 * 8
"""Bytes of memory that scrypt takes for each step, with the block size of the format."""
MEMORY = Path("/proc/meminfo")
_SALT_LABEL = b"age-encryption.org/v1/scrypt"
_STANZA = re.compile(rb"-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]{0,2})\n")
_BODY_LINE = re.compile(rb"([A-Za-z0-9+/]{43})\n")
_MAC_LINE = re.compile(rb"--- ([A-Za-z0-9+/]{43})\n")


class Damaged(ApplianceError):
    """What was read is not what was written, or not all of it. Nothing of it may be used."""


class WrongPassphrase(ApplianceError):
    """The passphrase does not open the file; or exactly the bytes that would tell are damaged."""


class Sink(Protocol):
    """Where bytes go: a binary file, or another layer."""

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take all of ``data``."""


class Source(Protocol):
    """Where bytes come from: a binary file, or another layer."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes; fewer only at the end."""


class AgeWriter:
    """Seals what is written to it into ``out``. Only after :meth:`finish` is the file whole."""

    def __init__(self, out: Sink, passphrase: str, *, work_factor: int = WORK_FACTOR) -> None:
        self._out = out
        file_key, salt, nonce = os.urandom(_FILE_KEY), os.urandom(_SALT), os.urandom(_NONCE)
        body = ChaCha20Poly1305(_wrap_key(passphrase, salt, work_factor)).encrypt(_NO_NONCE, file_key, None)
        head = b"%s-> scrypt %s %d\n%s\n---" % (MAGIC, _encode(salt), work_factor, _encode(body))
        out.write(b"%s %s\n%s" % (head, _encode(_mac(file_key, head)), nonce))
        self._cipher = ChaCha20Poly1305(_derive(file_key, salt=nonce, info=b"payload"))
        self._number = 0
        self._waiting = bytearray()
        """What is not sealed yet, a chunk at most: the last chunk may not be empty."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take all of ``data``; return its length."""
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            if len(self._waiting) == CHUNK:
                self._seal(last=False)
            taken = view[at : at + CHUNK - len(self._waiting)]
            self._waiting += taken
            at += len(taken)
        return len(view)

    def finish(self) -> None:
        """Seal the last chunk. ``out`` is neither flushed nor closed."""
        self._seal(last=True)

    def _seal(self, *, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last=last), bytes(self._waiting), None))
        self._number += 1
        self._waiting.clear()


class AgeReader:
    """Opens ``source``, which stands at the beginning of an age file.

    Raises WrongPassphrase; Damaged for what is no age file with a passphrase, and for a header that was changed.
    """

    def __init__(self, source: Source, passphrase: str) -> None:
        self._source = source
        file_key = _open_header(source, passphrase)
        nonce = source.read(_NONCE)
        if len(nonce) < _NONCE:
            raise Damaged("it is cut off behind its header")
        self._cipher = ChaCha20Poly1305(_derive(file_key, salt=nonce, info=b"payload"))
        self._number = 0
        self._sealed = source.read(_SEALED)
        """The chunk that is opened next: whether it is the last shows when no byte follows it."""
        self._plain = memoryview(b"")
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes; fewer only at the end, whose authenticity is then proven. Raises Damaged."""
        if len(self._plain) >= size:  # the usual case takes one copy
            return self._take(size)
        parts = [self._take(size)]
        missing = size - len(parts[0])
        while missing and not self._ended:
            self._open_chunk()
            parts.append(self._take(missing))
            missing -= len(parts[-1])
        return b"".join(parts)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._plain[:size])
        self._plain = self._plain[size:]
        return taken

    def _open_chunk(self) -> None:
        following = self._source.read(_SEALED) if len(self._sealed) == _SEALED else b""
        last = not following
        try:
            plain = self._cipher.decrypt(_nonce(self._number, last=last), self._sealed, None)
        except InvalidTag:
            raise Damaged(f"it is damaged, cut off or lengthened at chunk {self._number + 1}") from None
        if last and not plain and self._number:
            raise Damaged("its last chunk is empty, which no writer makes")
        self._plain = memoryview(plain)
        self._sealed, self._ended = following, last
        self._number += 1


def _open_header(source: Source, passphrase: str) -> bytes:
    """Return the key of the file. Raises Damaged, WrongPassphrase."""
    if source.read(len(MAGIC)) != MAGIC:
        raise Damaged("it is no age file")
    stanza_line, body_line, mac_line = _line(source), _line(source), _line(source)
    stanza = _STANZA.fullmatch(stanza_line)
    if stanza is None:
        raise Damaged("its header is damaged, or it was sealed for a key and not with a passphrase")
    body, mac = _BODY_LINE.fullmatch(body_line), _MAC_LINE.fullmatch(mac_line)
    if body is None or mac is None:
        raise Damaged("its header is damaged")
    work_factor = int(stanza[2])
    if work_factor > MAX_WORK_FACTOR:
        raise Damaged(f"its scrypt work factor is {work_factor}, and {MAX_WORK_FACTOR} at most is read")
    salt, sealed, tag = _decode(stanza[1], _SALT), _decode(body[1], _BODY), _decode(mac[1], _MAC)
    try:
        file_key = ChaCha20Poly1305(_wrap_key(passphrase, salt, work_factor)).decrypt(_NO_NONCE, sealed, None)
    except InvalidTag:
        raise WrongPassphrase("the passphrase is wrong, or the header of the file is damaged") from None
    if not hmac.compare_digest(tag, _mac(file_key, MAGIC + stanza_line + body_line + b"---")):
        raise Damaged("its header is damaged")
    return file_key


def _line(source: Source) -> bytes:
    """Return the next line with its end; cut off where the file ends or the line is too long."""
    line = bytearray()
    while len(line) < _MAX_LINE and (byte := source.read(1)):
        line += byte
        if byte == b"\n":
            break
    return bytes(line)


def _wrap_key(passphrase: str, salt: bytes, work_factor: int) -> bytes:
    """Return the key that seals the key of the file. Raises ApplianceError when there is not the memory for it."""
    needed = _BLOCK << work_factor
    if work_factor > WORK_FACTOR and needed > _free_memory():
        raise ApplianceError(f"opening it takes {needed >> 20} MiB of memory, and this machine has not as much free")
    kdf = Scrypt(salt=_SALT_LABEL + salt, length=32, n=1 << work_factor, r=8, p=1)
    return kdf.derive(passphrase.encode())


def _free_memory() -> int:
    """Return the bytes of memory that are free, or can be made free, as the kernel estimates them."""
    line = re.search(r"^MemAvailable: +(\d+) kB$", MEMORY.read_text(), re.MULTILINE)
    return int(line[1]) * 1024 if line else 1 << 62


def _mac(file_key: bytes, head: bytes) -> bytes:
    return hmac.digest(_derive(file_key, salt=b"", info=b"header"), head, hashlib.sha256)


def _derive(file_key: bytes, *, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(file_key)


def _nonce(number: int, *, last: bool) -> bytes:
    if number > _LAST_CHUNK_NUMBER:
        raise Damaged("it has more chunks than the format can number")
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def _encode(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _decode(text: bytes, length: int) -> bytes:
    """Return what ``text`` says; it must be the one way to write that. Raises Damaged."""
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise Damaged("its header is damaged") from None
    if len(data) != length or _encode(data) != text:
        raise Damaged("its header is damaged")
    return data
