"""The cursor of a list: the position where a page ended, as opaque text."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeVar

import msgspec

from appliance.errors import Invalid

T = TypeVar("T")

STALE = "This page of the list no longer exists; start again without a cursor."


def write(position: Any) -> str | None:
    """Return the cursor of a position, or None for None: the last page."""
    return None if position is None else urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def read(cursor: str | None, kind: type[T]) -> T | None:
    """Return the position of a cursor. Raises Invalid for text that :func:`write` never returned."""
    if not cursor:
        return None
    try:
        data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        if b"\\u0000" in data:
            raise Invalid(STALE, "cursor")
        return msgspec.json.decode(data, type=kind)
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise Invalid(STALE, "cursor") from None
