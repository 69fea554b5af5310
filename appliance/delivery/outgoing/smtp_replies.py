"""Replies of a mail server: bytes enter, whole replies leave. No I/O, and never more in memory than a bound."""

import re
from dataclasses import dataclass

LINE_BYTES = 2048
"""Of a line at most; RFC 5321 §4.5.3.1.5 has 512."""
REPLY_BYTES = 65_536
"""Of a reply of several lines at most."""
_LINE = re.compile(r"([2-5][0-9]{2})(?:([ -])(.*))?\Z", re.DOTALL)


class NotSmtp(Exception):
    """What came is no reply of SMTP, or is larger than a bound."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. Characters that are not printable ASCII are replaced."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The reply on one line, the code first."""
        return " ".join([str(self.code), *(line for line in self.lines if line)])

    @property
    def bytes(self) -> bytes:
        """The reply as a server writes it."""
        *first, last = self.lines
        return "".join([*(f"{self.code}-{line}\r\n" for line in first), f"{self.code} {last}\r\n"]).encode("ascii")


class Replies:
    """Cuts what a server sends into replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code: int | None = None
        self._lines: list[str] = []
        self._size = 0

    @property
    def rest(self) -> int:
        """Bytes that came after the last whole reply."""
        return len(self._buffer) + self._size

    def feed(self, data: bytes) -> None:
        """Take in what was read."""
        self._buffer += data

    def next(self) -> Reply | None:
        """Return the next reply, None until there is a whole one. Raises NotSmtp."""
        while (end := self._buffer.find(b"\n", 0, LINE_BYTES)) >= 0:
            line = bytes(self._buffer[:end]).removesuffix(b"\r")
            del self._buffer[: end + 1]
            self._size += end + 1
            if self._size > REPLY_BYTES:
                raise NotSmtp(f"the mail server's reply is longer than {REPLY_BYTES} bytes")
            if self._take(line):
                code, lines = self._code, tuple(self._lines)
                self._code, self._lines, self._size = None, [], 0
                assert code is not None  # noqa: S101 - _take has set it
                return Reply(code, lines)
        if len(self._buffer) >= LINE_BYTES:
            raise NotSmtp(f"the mail server sent a line longer than {LINE_BYTES} bytes")
        return None

    def _take(self, line: bytes) -> bool:
        """Take in a line; return whether it is the last of its reply."""
        printable = line.replace(b"\t", b" ")
        match = _LINE.match("".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in printable))
        if match is None:
            raise NotSmtp("the answer is not SMTP: is this the port of a mail server, with this kind of TLS?")
        code = int(match[1])
        if self._code not in (None, code):
            raise NotSmtp(f"the mail server changed its mind within a reply: {self._code}, then {code}")
        self._code = code
        self._lines.append(match[3] or "")
        return match[2] != "-"
