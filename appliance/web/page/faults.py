"""An error as a form shows it: the field, and what is wrong with it."""

from appliance.errors import Conflict, Invalid, NoCapacity, NotFound

Fault = tuple[str, str]
"""Field and text; the field is empty if the error belongs to no single one."""


def fault_of(error: Invalid | Conflict | NoCapacity | NotFound, field: str = "") -> Fault:
    """Return the fault of an error; ``field`` is used if the error names none."""
    named = error.field if isinstance(error, Invalid) else None
    text = str(error)
    return (named or field, text[:1].upper() + text[1:])
