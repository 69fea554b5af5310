"""Notices that come back: what an appliance published, and others passed on to us, is taken a few times at most."""

from collections.abc import Sequence

from appliance.reading import HOP_COUNT, MAX_HOPS, Reason, Refusal, hops


def circling(properties: Sequence[tuple[str, str]]) -> Refusal | None:
    """Return the refusal of a message whose user properties say that it has gone in a circle, None for any other."""
    found = hops(properties)
    if found <= MAX_HOPS:
        return None
    return Refusal(Reason.INVALID_PAYLOAD, f"{HOP_COUNT} {found}; at most {MAX_HOPS} are taken")
