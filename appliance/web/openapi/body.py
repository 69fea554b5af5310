"""The JSON body of a change, as the type that the route describes."""

from typing import TypeVar

import msgspec

from appliance.errors import Invalid
from appliance.web.page import forms

Struct = TypeVar("Struct", bound=msgspec.Struct)


async def body(wanted: type[Struct]) -> Struct:
    """The body of the current request as ``wanted``; none is an empty object. Raises Invalid, which names the field."""
    fields = await forms.read()
    if fields.is_form and fields.values:
        raise Invalid("Send a JSON object, with Content-Type application/json.")
    try:
        return msgspec.convert(fields.values, wanted)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`").partition("[")[0]
        raise Invalid(f"`{name}`: {words}" if name else words, name or _named(words)) from None


def _named(words: str) -> str | None:
    """The field in "Object contains unknown field `x`" and its like."""
    _, mark, rest = words.partition("`")
    return rest.partition("`")[0] if mark else None
