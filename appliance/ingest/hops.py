"""Notices that come back: what an appliance published, and others passed on to us, is taken a few times at most."""

from collections.abc import Sequence

from appliance.reading import HOP_COUNT, MAX_HOPS, Reason, Refusal

_DIGITS = 9
"""Of a number that is read; more are more than we take, whatever they are."""


def circling(properties: Sequence[tuple[str, str]]) -> Refusal | None:
    """Return the refusal of a message whose user properties say that it has gone in a circle, None for any other."""
    for name, value in properties:
        if name == HOP_COUNT and value.isascii() and value.isdigit() and int(value[:_DIGITS]) > MAX_HOPS:
            return Refusal(Reason.INVALID_PAYLOAD, f"{HOP_COUNT} {value[:_DIGITS]}; at most {MAX_HOPS} are taken")
    return None
