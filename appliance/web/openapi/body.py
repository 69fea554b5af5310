"""Reads the JSON body of a change, as the type that the route describes."""

from typing import Any

import msgspec
from msgspec import UNSET

from appliance.errors import Invalid
from appliance.web.openapi.entity_tag import IF_MATCH, version_asked
from appliance.web.openapi.validation import Struct, converted
from appliance.web.page import forms


async def body(wanted: type[Struct]) -> Struct:
    """Return the body of the current request as ``wanted``; a missing body counts as an empty object.

    ``If-Match`` stands for its ``version``. Raises Invalid, which names the field; Outdated for a tag of another kind.
    """
    fields = await forms.read()
    if fields.is_form and fields.values:
        raise Invalid("Send a JSON object, with Content-Type application/json.")
    values = {**fields.values, **version_asked(wanted)}
    if "version" in fields.values and values["version"] != fields.values["version"]:
        raise Invalid(f"Name one version, by {IF_MATCH} or by `version`.", "version")
    return converted(values, wanted, strict=True)


def given(change: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a change that the request names, without the ``version`` that it started from."""
    fields = msgspec.structs.asdict(change)
    return {name: value for name, value in fields.items() if value is not UNSET and name != "version"}
