"""The cursor of a list: where a page ended, as text that nobody needs to understand."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeVar

import msgspec

from appliance.errors import Invalid

T = TypeVar("T")

STALE = "This page of the list is not there any more; begin anew without a cursor."


def write(place: Any) -> str | None:
    """The cursor of a place; None: there is nothing behind it."""
    return None if place is None else urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def read(cursor: str | None, kind: type[T]) -> T | None:
    """The place that a cursor tells. Raises Invalid for what :func:`write` never wrote."""
    if not cursor:
        return None
    try:
        data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        if b"\\u0000" in data:
            raise Invalid(STALE, "cursor")
        return msgspec.json.decode(data, type=kind)
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise Invalid(STALE, "cursor") from None
