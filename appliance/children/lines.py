"""Bytes of a child's output as lines that are safe to log: bounded, decoded, control characters encoded."""

MAX_LINE_BYTES = 4096
CUT = " [cut]"


def printable(line: str) -> str:
    """Return ``line`` with everything that could move a cursor or forge a line escaped (``\\x1b``)."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class LineSplitter:
    """Cuts a stream of chunks into lines; of a line beyond ``MAX_LINE_BYTES`` the beginning is kept, marked as cut."""

    __slots__ = ("_cutting", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._cutting = False

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that ``chunk`` completes, without line ends; empty lines are left out."""
        *complete, rest = (self._rest + chunk).split(b"\n")
        lines = [self._finish(raw) for raw in complete]
        if len(rest) > MAX_LINE_BYTES:
            if not self._cutting:
                lines.append(self._text(rest[:MAX_LINE_BYTES]) + CUT)
            self._cutting = True
            rest = b""
        self._rest = rest
        return [line for line in lines if line]

    def end(self) -> list[str]:
        """Return the unfinished last line, if there is one."""
        return self.feed(b"\n") if self._rest else []

    def _finish(self, raw: bytes) -> str:
        if self._cutting:
            self._cutting = False
            return ""
        if len(raw) > MAX_LINE_BYTES:
            return self._text(raw[:MAX_LINE_BYTES]) + CUT
        return self._text(raw)

    @staticmethod
    def _text(raw: bytes) -> str:
        return printable(raw.decode("utf-8", "backslashreplace").strip().replace("\t", " "))
