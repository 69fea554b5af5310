"""A payload as received, for people: bytes and text side by side, the place that was refused marked.

Enters: the bytes, the reason and its detail. Leaves: lines of cells for templates. Never: anything but escaped text on
a page, or characters that control a terminal or the direction of text. The value of a ``provision_token`` is a secret
and is masked for every viewer.

The detail names the byte at which decoding stopped, or the key whose value was refused; the value of that key is then
searched in the text.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from appliance.ingest.envelope import MAX_DEPTH
from appliance.reading import Reason

WIDTH = 16
"""Bytes in a line."""
WINDOW = 1024
"""Bytes shown before the place at most, and as many after it."""
MASK = b"*"
NO_NAME = "is no metric name"

_BYTE = re.compile(r"\bat byte (\d+)\b")
_KEY = re.compile(r"`([^`]+)`")
_TOKEN = re.compile(
    rb"""provision_token["']?\s*[:=]\s*(?:"((?:[^"\\]|\\.)*)|'((?:[^'\\]|\\.)*)|([^\s,}"']+))""", re.DOTALL
)
"""The value of a token, also in payloads that are not JSON: in single quotes, or without quotes."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+|-?\d{309,}")
_DECODER = json.JSONDecoder()
_TEXT_REASONS = frozenset({Reason.BAD_TOPIC_FORMAT, Reason.PAYLOAD_TOO_LARGE, Reason.RATE_LIMITED})
"""Reasons whose cause is not in the payload."""


@dataclass(frozen=True, slots=True)
class FaultPosition:
    """Bytes ``start`` to ``end`` (exclusive). Both are the payload's length if something is missing at its end."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Run:
    """Characters with the same style."""

    text: str
    marked: bool = False
    substitute: bool = False
    """Whether the characters replace something that cannot be shown."""


@dataclass(frozen=True, slots=True)
class DumpLine:
    """Up to WIDTH bytes: the offset of the first, their hexadecimal digits, and their characters."""

    offset: int
    digits: tuple[Run, ...]
    characters: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Dump:
    """A payload, or the part of it around the place."""

    length: int
    first: int
    last: int
    place: FaultPosition | None
    lines: tuple[DumpLine, ...]
    text: tuple[Run, ...] | None
    """The payload as text, with visible control characters; None if it is not text."""

    @property
    def whole(self) -> bool:
        """Whether the whole payload is shown."""
        return self.first == 0 and self.last == self.length


def masked(payload: bytes) -> bytes:
    """Return the payload with the value of a ``provision_token`` replaced by asterisks of the same length."""
    return _TOKEN.sub(_mask, payload)


def _mask(found: re.Match[bytes]) -> bytes:
    value = found[found.lastindex or 0]
    return found[0][: len(found[0]) - len(value)] + MASK * len(value)


def preview(payload: bytes, most: int = 80) -> str:
    """Return the beginning of a payload in one line, for lists."""
    text = masked(payload[: 4 * most]).decode(errors="replace")
    line = "".join(_visible(letter) if letter != "\n" else " " for letter in text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def dump(payload: bytes, reason: Reason, detail: str) -> Dump:
    """Return the payload for the page of one message."""
    place = find(payload, reason, detail)
    shown = masked(payload)
    middle = 0 if place is None else place.start
    first = max(0, middle - WINDOW) // WIDTH * WIDTH
    last = min(len(shown), (middle if place is None else min(place.end, middle + WINDOW)) + WINDOW)
    return Dump(
        length=len(payload),
        first=first,
        last=last,
        place=place,
        lines=tuple(_lines(shown, first, last, place)),
        text=_text(shown[first:last], first, place),
    )


def find(payload: bytes, reason: Reason, detail: str) -> FaultPosition | None:
    """Return the part of the payload that caused the refusal; None if it cannot be determined."""
    if reason in _TEXT_REASONS:
        return None
    if (found := _BYTE.search(detail)) is not None:
        at = min(int(found[1]), len(payload))
        return FaultPosition(at, min(at + _character(payload, at), len(payload)))
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    span = _too_deep(text) if "nested deeper" in detail else None
    if span is None and "too large: it must be finite" in detail:
        span = next((match.span() for match in _NUMBER.finditer(text) if _is_infinite(match[0])), None)
    if span is None and (key := _KEY.search(detail)) is not None:
        span = _name(text, key[1].removesuffix("...")) if NO_NAME in detail else _value_of(text, key[1])
    return None if span is None else FaultPosition(*(len(text[:index].encode()) for index in span))


def _character(payload: bytes, at: int) -> int:
    """Return the number of bytes of the character at ``at``; 1 if no character begins there."""
    for size in (1, 2, 3, 4):
        try:
            payload[at : at + size].decode()
        except UnicodeDecodeError:
            continue
        return size
    return 1


def _value_of(text: str, key: str) -> tuple[int, int] | None:
    """Return the place of the value of the last ``key``."""
    found = _last(rf"{re.escape(_written(key))}\s*:\s*", text)
    if found is None:
        return None
    try:
        return found.end(), _DECODER.raw_decode(text, found.end())[1]
    except (ValueError, RecursionError):
        return None


def _name(text: str, beginning: str) -> tuple[int, int] | None:
    """Return the place of the last key with this ``beginning``, which is not a valid name."""
    found = _last(rf'({re.escape(_written(beginning)[:-1])}(?:[^"\\]|\\.)*")\s*:', text)
    return None if found is None else found.span(1)


def _written(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def _last(pattern: str, text: str) -> re.Match[str] | None:
    return next(reversed([*re.finditer(pattern, text)]), None)


def _too_deep(text: str) -> tuple[int, int] | None:
    """Return the place of the bracket that opens the first level above MAX_DEPTH."""
    depth, within, escaped = 0, False, False
    for index, letter in enumerate(text):
        if within:
            within = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            within = True
        elif letter in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return index, index + 1
        elif letter in "]}":
            depth -= 1
    return None


def _is_infinite(number: str) -> bool:
    return float(number) in (float("inf"), float("-inf"))


def _lines(payload: bytes, first: int, last: int, place: FaultPosition | None) -> Iterator[DumpLine]:
    for offset in range(first, last, WIDTH):
        indexes = range(offset, min(offset + WIDTH, last))
        marks = [place is not None and place.start <= index < place.end for index in indexes]
        digits = [(f"{payload[index]:02x}", marked, False) for index, marked in zip(indexes, marks, strict=True)]
        characters = [_shown(payload[index], marked) for index, marked in zip(indexes, marks, strict=True)]
        yield DumpLine(offset, _runs(digits, " "), _runs(characters, ""))


def _shown(byte: int, marked: bool) -> tuple[str, bool, bool]:
    plain = 0x20 <= byte < 0x7F
    return (chr(byte) if plain else "·", marked, not plain)


def _text(part: bytes, first: int, place: FaultPosition | None) -> tuple[Run, ...] | None:
    """Return the part as text, without a character that is cut at either end; None if it is not text."""
    try:
        text = part.decode(errors="strict")
    except UnicodeDecodeError as error:
        ends = error.end >= len(part) - 3 or (first > 0 and error.start < 4)
        if not ends:
            return None
        text = part.decode(errors="ignore")
    cells, index = [], first
    for letter in text:
        marked = place is not None and place.start <= index < place.end
        cells.append((_visible(letter), marked, not letter.isprintable() and letter != "\n"))
        index += len(letter.encode())
    return _runs(cells, "")


def _visible(letter: str) -> str:
    """Return a visible form: pictures of control characters, numbers of others that cannot be shown."""
    if letter.isprintable() or letter == "\n":
        return letter
    code = ord(letter)
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"


def _runs(cells: list[tuple[str, bool, bool]], between: str) -> tuple[Run, ...]:
    return tuple(
        Run(between.join(text for text, *_ in group), marked, substitute)
        for (marked, substitute), group in groupby(cells, key=lambda cell: cell[1:])
    )
