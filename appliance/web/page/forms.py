"""Reads the fields of a change as typed values, from a form or a JSON object alike.

Bad input raises :class:`appliance.errors.Invalid` that names the field: bytes that are not UTF-8, NUL, deep nesting,
a text that is not a number.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from quart import abort, g, request
from quart.datastructures import FileStorage

from appliance.errors import Invalid
from appliance.plain_text import is_plain

E = TypeVar("E", bound=StrEnum)

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
JSON = "application/json"
MAX_FIELDS = 1000
MAX_TEXT = 10_000
"""Characters of a text, unless the reader sets another limit."""
WHOLE = re.compile(r"[+-]?[0-9]+")

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one request. Values of a form are lists of texts, those of JSON any JSON values."""

    values: Mapping[str, Any]
    files: Mapping[str, FileStorage] = field(default_factory=dict)
    is_form: bool = True

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str, *, most: int = MAX_TEXT, lines: bool = False) -> str:
        """Return a text without blanks at its ends, empty if missing; ``lines``: it may have several lines.

        Raises Invalid for characters that cannot be seen, and for more than ``most`` characters.
        """
        value = self.raw(name, most=most).strip()
        value = value.replace("\r\n", "\n") if lines else value
        if not is_plain(value, lines=lines):
            raise Invalid("This contains characters that cannot be seen; type it again.", name)
        return value

    def raw(self, name: str, *, most: int = MAX_TEXT) -> str:
        """Return a text exactly as typed, for passwords. Raises Invalid for other values and longer texts."""
        value = self._single(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Invalid("This must be a text.", name)
        if len(value) > most:
            raise Invalid(f"This has at most {most} characters.", name)
        if "\0" in value:
            raise Invalid("This contains characters that cannot be seen; type it again.", name)
        return value

    def typed(self, name: str) -> str:
        """Return the text as typed, valid or not, to fill the form in again."""
        value = self._single(name)
        return value if isinstance(value, str) else ""

    def needed(self, name: str, what: str, *, most: int = MAX_TEXT) -> str:
        """Return a required text. Raises Invalid, with ``what`` to do if it is missing: "Give the device a name."."""
        value = self.text(name, most=most)
        if not value:
            raise Invalid(what, name)
        return value

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """Return a whole number, or None if missing. Raises Invalid for anything else, and out of range."""
        value = self._single(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and len(value) <= 20 and WHOLE.fullmatch(value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Invalid(f"This must be a whole number from {least} to {most}.", name)
        return value

    def number(self, name: str, *, least: float, most: float) -> float | None:
        """Return a number, with a point or a comma, or None if missing. Raises Invalid for others, and out of range."""
        value = self._single(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and len(value) <= 40:
            try:
                value = float(value.replace("\N{MINUS SIGN}", "-").replace(",", "."))
            except ValueError:
                value = None
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise Invalid(f"This must be a number from {least:,.10g} to {most:,.10g}.", name)
        return float(value)

    def flag(self, name: str) -> bool:
        """Return whether a checkbox is ticked, or a value is true. Raises Invalid for anything but a truth value."""
        value = self._single(name)
        if value is None or value is False or value in ("", "off", "false", "0"):
            return False
        if value is True or value in ("on", "true", "1", "yes"):
            return True
        raise Invalid("This must be true or false.", name)

    def choice(self, name: str, kind: type[E], default: E | None = None) -> E:
        """Return one of the values of ``kind``. Raises Invalid for others, and if missing without a default."""
        value = self._single(name)
        if default is not None and value in (None, ""):
            return default
        try:
            return kind(value)
        except ValueError:
            raise Invalid(f"This must be one of {', '.join(kind)}.", name) from None

    def many(self, name: str) -> list[str]:
        """Return every text of the name: ticked checkboxes, or a list in JSON. Raises Invalid for anything else."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
            raise Invalid("This must be a list of texts.", name)
        return value

    def _single(self, name: str) -> Any:
        value = self.values.get(name)
        if self.is_form and isinstance(value, list):
            return value[-1]
        return value


async def read(*, files: bool = False) -> Fields:
    """Return the fields of the current request, read once; ``files``: they may include files.

    Raises Invalid if it is neither a form nor a JSON object, and for an unexpected file.
    """
    known: Fields | None = g.get("fields")
    if known is None:
        known = g.fields = await _read()
    if known.files and not files:
        raise Invalid("This form takes no files.", next(iter(known.files)))
    return known


def version(fields: Fields) -> datetime | None:
    """Return the version that an edit started from, or None if the form has none.

    Raises Invalid for text that is not a time with an offset.
    """
    text = fields.text("version", most=64)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid("This form is incomplete. Load the page again.")
    return moment


async def _read() -> Fields:
    if request.mimetype == MULTIPART:
        if not request.mimetype_params.get("boundary"):
            raise Invalid("The form is incomplete. Send it again.")
        try:
            form, files = await request.form, await request.files
        except ValueError:
            raise Invalid("The form is incomplete. Send it again.") from None
        return Fields(form.to_dict(flat=False), files.to_dict())
    body: bytes = await request.get_data(cache=True, as_text=False)  # type: ignore[assignment] # not as text
    if request.mimetype == JSON:
        return Fields(_object(body), is_form=False)
    if request.mimetype == FORM:
        return Fields(_form(body))
    if not body:
        return Fields({})
    raise Invalid("Send a form or a JSON object, with its Content-Type.")


def _object(body: bytes) -> dict[str, Any]:
    try:
        return _decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(f"The body must be one JSON object in UTF-8: {error}.") from None


def _form(body: bytes) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    if body.count(b"&") >= MAX_FIELDS:
        abort(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A form has at most {MAX_FIELDS} fields.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise Invalid("The form must be in UTF-8.") from None
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values
