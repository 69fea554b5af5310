"""Rows as CSV text (RFC 4180), safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Without it, spreadsheets read the file in the machine's own encoding instead of UTF-8."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Starts of a text that a spreadsheet would read as a formula (OWASP, CSV Injection)."""


def cell(value: Any) -> str:
    """Return the text of a cell: numbers plain, None empty, a text that looks like a formula behind an apostrophe.

    The apostrophe goes before texts that begin with some already, too, so that an import can take exactly it away.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV text."""
    out = io.StringIO()
    csv.writer(out).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()
