"""An error as a form shows it: which field, and what is wrong with it."""

from appliance.errors import Conflict, Invalid, NoCapacity, NotFound

Fault = tuple[str, str]
"""Field and words; the field is empty where it is none of them."""


def fault_of(error: Invalid | Conflict | NoCapacity | NotFound, field: str = "") -> Fault:
    """``field`` is to blame where the error does not say."""
    named = error.field if isinstance(error, Invalid) else None
    text = str(error)
    return (named or field, text[:1].upper() + text[1:])
