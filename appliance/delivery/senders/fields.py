"""The check that every type shares: known names, right types, what is required, and no sign that cannot be seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.delivery.outgoing.tls import client_context
from appliance.delivery.senders.sender import Field
from appliance.errors import Invalid

MAX_TEXT = 4096
"""Characters of one field."""
MAX_LINES = 64
CA = Field(
    "ca",
    "CA certificate",
    "pem",
    hint="PEM. For a server with a certificate of your own: only this CA is trusted then.",
    placeholder="-----BEGIN CERTIFICATE-----",
)
"""The field of every type that speaks TLS to servers that people run themselves."""


def checked(fields: Sequence[Field], config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration with defaults, each value of its kind and trimmed, empty ones left out. Raises Invalid.

    A secret is checked in the same way; its value is not returned.
    """
    known = {field.name: field for field in fields}
    for name, where in [(name, config) for name in config] + [(name, secrets) for name in secrets]:
        field = known.get(name)
        if field is None:
            raise Invalid(f"There is no field {name[:64]!r} here; there are {', '.join(known)}.", name[:64])
        if field.secret is not (where is secrets):
            raise Invalid(f"{field.label} belongs to {'secrets' if field.secret else 'config'}.", name)
    found: dict[str, Any] = {}
    for field in fields:
        value = _value(field, (secrets if field.secret else config).get(field.name, field.default))
        if value in (None, "", []) and field.required:
            raise Invalid(f"{field.label} is missing.", field.name)
        if value not in (None, "", []) and not field.secret:
            found[field.name] = value
    return found


def _value(field: Field, value: Any) -> Any:
    """Return a value of the field's kind. Raises Invalid."""
    match field.kind, value:
        case _, None:
            return None
        case "switch", bool():
            return value
        case "number", int() if not isinstance(value, bool):
            return value
        case "lines", str() | list() | tuple():
            return lines(field, value)
        case "pem", str():
            return pem(field, value)
        case "choice", str():
            if value not in {choice for choice, _ in field.choices}:
                raise Invalid(
                    f"{field.label} must be one of {', '.join(code for code, _ in field.choices)}.", field.name
                )
            return value
        case "url" | "text", str():
            return text(field, value)
    raise Invalid(f"{field.label} is of the wrong type.", field.name)


def text(field: Field, value: str) -> str:
    """Return a line of text without spaces around it. Raises Invalid."""
    value = value.strip(" ")
    if len(value) > MAX_TEXT:
        raise Invalid(f"{field.label} is longer than {MAX_TEXT:,} characters.", field.name)
    if not value.isprintable():
        raise Invalid(f"{field.label} holds a line end or another sign that cannot be seen; remove it.", field.name)
    return value


def lines(field: Field, value: str | Sequence[Any]) -> list[str]:
    """Return one text a line, empty lines left out. Raises Invalid."""
    given = value.replace("\r\n", "\n").split("\n") if isinstance(value, str) else value
    if not all(isinstance(line, str) for line in given):
        raise Invalid(f"{field.label} must be a list of texts.", field.name)
    found = [line for line in (text(field, line) for line in given) if line]
    if len(found) > MAX_LINES:
        raise Invalid(f"{field.label} has more than {MAX_LINES} lines.", field.name)
    return found


def pem(field: Field, value: str) -> str:
    """Return certificates in PEM. Raises Invalid."""
    value = value.replace("\r\n", "\n").strip()
    if value:
        try:
            client_context(value, ())
        except ValueError as error:
            raise Invalid(f"{field.label} {error}.", field.name) from None
    return value
