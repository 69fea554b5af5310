"""Converts what a program sent to the type that its route describes, and names the field that does not fit."""

from typing import Any, TypeVar

import msgspec

from appliance.errors import Invalid

Struct = TypeVar("Struct", bound=msgspec.Struct)


def converted(values: Any, wanted: type[Struct], *, strict: bool) -> Struct:
    """Return ``values`` as ``wanted``; unless ``strict``, texts may stand for numbers and truth values.

    Raises Invalid, which names the field.
    """
    try:
        return msgspec.convert(values, wanted, strict=strict)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`").partition("[")[0]
        raise Invalid(f"`{field}`: {message}" if field else message, field or _first_quoted(message)) from None


def _first_quoted(message: str) -> str | None:
    """Return the field in "Object contains unknown field `x`" and similar messages."""
    _, mark, rest = message.partition("`")
    return rest.partition("`")[0] if mark else None
