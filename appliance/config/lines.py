"""Find the line of each key of a TOML document, which ``tomllib`` does not report.

Enters: text that ``tomllib`` has accepted. Leaves: a line for every key path. Never: values, or a verdict on the
document (for text that ``tomllib`` refuses the answer means nothing, but there always is one).
"""

import re

KeyPath = tuple[str, ...]
"""A key from the top of the document, for example ``("broker", "port")``; elements of an array are numbered."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # several lines, basic: up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"  # several lines, literal
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(?:([btnfr"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, on which each key of ``text`` first appears, tables and dotted parents included."""
    return _Scanner(text.replace("\r\n", "\n")).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0  # newlines before this place are in _line
        self._found: dict[KeyPath, int] = {}

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._match(_BLANK)
        while self._at < len(self._text):
            before = self._at
            if self._take("["):
                self._take("[")
                table = self._key(())
                self._take("]")
                self._take("]")
            else:
                self._pair(table)
            self._match(_BLANK)
            if self._at == before:  # only in text that tomllib refuses
                break
        return self._found

    def _pair(self, table: KeyPath) -> None:
        path = self._key(table)
        self._take("=")
        self._match(_BLANK)
        self._value(path)

    def _key(self, parent: KeyPath) -> KeyPath:
        """One key, dotted or not; notes the line of each of its parts."""
        path = parent
        while True:
            self._match(_BLANK)
            path = (*path, self._key_part())
            self._found.setdefault(path, self._line_here())
            self._match(_BLANK)
            if not self._take("."):
                return path

    def _key_part(self) -> str:
        bare = self._match(_BARE_KEY)
        if bare:
            return bare
        quoted = self._match(_STRING)
        return _ESCAPE.sub(_unescape, quoted[1:-1]) if quoted.startswith('"') else quoted[1:-1]

    def _value(self, path: KeyPath) -> None:
        """Steps over one value; notes the keys of inline tables in it."""
        if self._take("{"):
            while self._more("}"):
                self._pair(path)
        elif self._take("["):
            index = 0
            while self._more("]"):
                self._value((*path, str(index)))
                index += 1
        elif not self._match(_STRING) and not self._match(_SCALAR):
            self._at += 1  # only in text that tomllib refuses: go on, so that there is an end

    def _more(self, closing: str) -> bool:
        """Return whether another element follows, stepping over a comma before it or over the ``closing`` bracket."""
        self._match(_BLANK)
        if self._take(","):
            self._match(_BLANK)
        return self._at < len(self._text) and not self._take(closing)

    def _match(self, pattern: re.Pattern[str]) -> str:
        """Steps over ``pattern`` if it stands here and returns what it matched."""
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def _take(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _line_here(self) -> int:
        """Return the line of the key that ends here; a key never spans lines."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line


def _unescape(match: re.Match[str]) -> str:
    short, four, eight = match.groups()
    return _ESCAPED[short] if short else chr(int(four or eight, 16))
