"""Versions of what is edited, as HTTP says them: ``ETag`` in an answer, ``If-Match`` with a change (RFC 9110).

An answer has the tag of its ``version``; a change may name the version that it started from by the header or by its
member ``version``, which are the same. A tag is a version as JSON has it, in quotation marks.
"""

import re
from typing import Any

import msgspec
from quart import request
from werkzeug.datastructures import Headers

from appliance.errors import Invalid, Outdated

IF_MATCH = "If-Match"
ANY = "*"
"""Whatever version there is."""
_TAG = re.compile(r'"([\x21\x23-\x7e]*)"')


def tag_of(value: Any) -> str | None:
    """Return the tag of what is answered; None: it has no version."""
    version = getattr(value, "version", None) if isinstance(value, msgspec.Struct) else None
    return None if version is None else f'"{msgspec.to_builtins(version)}"'


def version_asked(wanted: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the member ``version`` of a change that ``If-Match`` names; empty without that header, and for ``*``.

    Raises Invalid for what is no tag; Outdated for a tag that is no version of such a thing.
    """
    given = _given(request.headers)
    kind = next((spec.type for spec in msgspec.structs.fields(wanted) if spec.name == "version"), None)
    if given is None or given == ANY or kind is None:
        return {}
    found = _TAG.fullmatch(given)
    if found is None:
        raise Invalid(f'{IF_MATCH} has one ETag as it was answered, in quotation marks: "..."; or *.', IF_MATCH)
    try:
        version = msgspec.convert(found[1], kind, strict=False)
    except msgspec.ValidationError:
        version = None
    if version is None:
        raise Outdated("It was changed by someone else, or the ETag is of something else; read it again.")
    return {"version": msgspec.to_builtins(version)}


def any_version_asked() -> bool:
    """Return whether the current request says that its change holds for whatever version there is."""
    return _given(request.headers) == ANY


def _given(headers: Headers) -> str | None:
    return headers[IF_MATCH].strip() if IF_MATCH in headers else None
