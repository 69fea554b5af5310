"""A CSV file of devices, read into values. Errors name the line and the column.

The first line names the columns, in any order; ``device_id`` must be there. Cells are separated by commas, semicolons
or tabs, whichever the first line uses; the tags within their cell by ``|``. A byte order mark is skipped.
"""

import csv
import difflib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.devices.device import NewDevice
from appliance.errors import Invalid

COLUMNS = ("device_id", "name", "site_id", "place", "tags", "subscription_id", "interval")
DELIMITERS = ",;\t"
TAG_DELIMITER = "|"


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One device and the line of the file where its row begins, counted from 1."""

    line: int
    new: NewDevice


def read(data: bytes) -> list[ImportRow]:
    """Return the rows of a file; empty lines are left out. Raises Invalid for the first fault."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(f"Line {line}: not UTF-8; save the file as CSV UTF-8.") from None
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = _rows(reader)
    _, columns = next(rows, (1, []))
    _check_columns(columns)
    return [ImportRow(line, _device(line, columns, cells)) for line, cells in rows if any(cells)]


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its first line; a quoted cell may span several lines."""
    while True:
        line = reader.line_num + 1
        try:
            yield line, [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise Invalid(f"Line {line}: {error}.") from None


def _check_columns(columns: Sequence[str]) -> None:
    for place, name in enumerate(columns, start=1):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(COLUMNS)}."
            raise Invalid(f"Line 1, column {place}: no column is called {name!r}{hint}")
        if name in columns[: place - 1]:
            raise Invalid(f"Line 1, column {place}: {name} is there twice.")
    if "device_id" not in columns:
        raise Invalid("Line 1: there is no column device_id.")


def _device(line: int, columns: Sequence[str], cells: Sequence[str]) -> NewDevice:
    if len(cells) > len(columns):
        raise Invalid(f"Line {line}: {len(cells)} cells, but {len(columns)} columns.")
    given = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
    if "device_id" not in given:
        raise Invalid(f"Line {line}, column device_id: it is empty.")
    return NewDevice(
        given["device_id"],
        site_id=given.get("site_id"),
        name=given.get("name"),
        place=given.get("place"),
        tags=tuple(tag for tag in map(str.strip, given.get("tags", "").split(TAG_DELIMITER)) if tag),
        interval=_interval(line, given.get("interval")),
        subscription_id=given.get("subscription_id"),
    )


def _interval(line: int, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Invalid(f"Line {line}, column interval: {text!r} is not a number of seconds.")
    return seconds
