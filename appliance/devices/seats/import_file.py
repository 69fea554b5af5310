"""A CSV file of devices, read into values. Errors name the line and the column.

The first line that is not empty names the columns, in any order and as people write them (``Device ID`` is
``device_id``); ``device_id`` must be there. Cells are separated by commas, semicolons or tabs, whichever that line
uses, or as a line ``sep=;`` before it says; the tags within their cell by ``|``. Empty lines, and empty cells beyond
the last column, are left out. A file is UTF-8, or UTF-16 with its mark; a byte order mark is skipped.

The list of devices can be imported as it was exported: what it says beyond the description of a device is left out, but
for the tenant and the status of a row, which decide whether it is taken (:mod:`appliance.devices.seats.imports`).
"""

import codecs
import csv
import difflib
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.counted import counted
from appliance.devices.device import DeviceStatus, NewDevice
from appliance.errors import Invalid

COLUMNS = ("device_id", "name", "site_id", "place", "tags", "subscription_id", "interval")
"""What a file may say of a device."""
DECIDING = ("tenant_id", "status")
"""Columns of the exported list that decide whether a row is taken."""
LEFT_OUT = (
    "presence",
    "learned_interval",
    "last_seen_at",
    "last_heard_at",
    "refused_reason",
    "own_credential",
    "created_at",
)
"""Columns of the exported list that nobody sets."""
OTHER_NAMES: Mapping[str, str] = {
    "device": "device_id",
    "id": "device_id",
    "deviceid": "device_id",
    "device_name": "name",
    "site": "site_id",
    "siteid": "site_id",
    "tag": "tags",
    "subscription": "subscription_id",
    "subscriptionid": "subscription_id",
    "interval_s": "interval",
    "interval_seconds": "interval",
    "tenant": "tenant_id",
}
DELIMITERS = ",;\t"
_BAR = re.compile(r"(\\*)\|")
"""A bar with the backslashes before it: two are one of the tag, an odd one says that the bar is of the tag."""
_LAST_BACKSLASHES = re.compile(r"\\+$")
_SEPARATOR_LINE = re.compile(r'[\r\n]*"?sep=(\t|[,;])', re.IGNORECASE)
_ESCAPED_FORMULA = re.compile(r"'+[=+\-@]")
"""A text that the export put behind an apostrophe, so that no spreadsheet takes it for a formula."""


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One device and the line of the file where its row begins, counted from 1."""

    line: int
    new: NewDevice


def decode(data: bytes) -> str:
    """Return the text of a file without its byte order mark. Raises Invalid, which names the line."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(f"Line {line}: not UTF-8; save the file as CSV UTF-8.") from None


def read(data: bytes) -> list[ImportRow]:
    """Return the rows of a file; empty lines are left out. Raises Invalid for the first fault."""
    text = decode(data)
    said = _SEPARATOR_LINE.match(text)
    delimiter = said[1] if said else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = ((line, cells) for line, cells in _rows(reader) if any(cells))
    if said:
        next(rows)
    head, heads = next(rows, (1, []))
    columns = _columns(head, heads)
    return [ImportRow(line, _device(line, columns, cells)) for line, cells in rows]


def _delimiter(text: str) -> str:
    """Return what separates the cells of the first line that has more than delimiters."""
    lines = io.StringIO(text)
    first = next((line for line in lines if line.strip(f"{DELIMITERS} \r\n")), "")
    return max(DELIMITERS, key=first.count)


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its first line; a quoted cell may span several lines."""
    while True:
        line = reader.line_num + 1
        try:
            yield line, [_cell(cell) for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise Invalid(f"Line {line}: {error}.") from None


def _cell(text: str) -> str:
    text = text.strip()
    return text[1:] if _ESCAPED_FORMULA.match(text) else text


def _columns(line: int, heads: Sequence[str]) -> list[str]:
    """Return the names of the columns, empty for those without one. Raises Invalid."""
    names: list[str] = []
    for place, head in enumerate(heads, start=1):
        name = _name(head)
        if name and name not in (*COLUMNS, *DECIDING, *LEFT_OUT):
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(COLUMNS)}."
            raise Invalid(f"Line {line}, column {place}: no column is called {head!r}{hint}")
        if name and name in names:
            raise Invalid(f"Line {line}, column {place}: {name} is there twice.")
        names.append(name)
    if "device_id" not in names:
        raise Invalid(f"Line {line}: there is no column device_id.")
    return names


def _name(head: str) -> str:
    """Return the name of a column from its head, as people write it: ``Device ID``, ``Interval (s)``."""
    name = re.sub(r"[\W_]+", "_", head.casefold()).strip("_")
    return OTHER_NAMES.get(name, name)


def _device(line: int, columns: Sequence[str], cells: Sequence[str]) -> NewDevice:
    width = max(place for place, cell in enumerate(cells, start=1) if cell)
    if width > len(columns):
        raise Invalid(f"Line {line}: {width} cells, but {counted(len(columns), 'column')}.")
    given = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
    if "" in given:
        raise Invalid(f"Line {line}: {given['']!r} stands in a column without a name; give it one.")
    if "device_id" not in given:
        raise Invalid(f"Line {line}, column device_id: it is empty.")
    return NewDevice(
        given["device_id"],
        site_id=given.get("site_id"),
        name=given.get("name"),
        place=given.get("place"),
        tags=_tags(given.get("tags", "")),
        interval=_interval(line, given.get("interval")),
        subscription_id=given.get("subscription_id"),
        stated_tenant=given.get("tenant_id"),
        stated_status=_status(line, given.get("status")),
    )


def joined_tags(tags: Iterable[str]) -> str:
    """Return tags as the text of their cell. Before a bar, a ``|`` or backslash of a tag stands behind a backslash."""
    *others, last = [_BAR.sub(r"\1\1\\|", tag) for tag in tags] or [""]
    return "|".join([*(_LAST_BACKSLASHES.sub(r"\g<0>\g<0>", tag) for tag in others), last])


def _tags(text: str) -> tuple[str, ...]:
    tags, begun, rest = [], "", 0
    for bar in _BAR.finditer(text):
        pairs, odd = divmod(len(bar[1]), 2)
        begun += text[rest : bar.start()] + "\\" * pairs + "|" * odd
        rest = bar.end()
        if not odd:
            tags.append(begun)
            begun = ""
    tags.append(begun + text[rest:])
    return tuple(tag for tag in map(str.strip, tags) if tag)


def _interval(line: int, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Invalid(f"Line {line}, column interval: {text!r} is not a number of seconds.")
    return seconds


def _status(line: int, text: str | None) -> DeviceStatus | None:
    if text is None:
        return None
    try:
        return DeviceStatus(text.upper())
    except ValueError:
        raise Invalid(f"Line {line}, column status: {text!r} is not one of {', '.join(DeviceStatus)}.") from None
