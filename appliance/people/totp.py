"""The second factor: time-based codes (RFC 6238: HMAC-SHA-1, six digits, steps of 30 s), each accepted once."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Collection
from urllib.parse import quote, urlencode

STEP = 30
"""Seconds for which a code is shown."""
DIGITS = 6
SECRET_BYTES = 20
"""The length of the hash (RFC 4226 §4)."""
DRIFT = 1
"""Steps by which the clock of a phone may be wrong in either direction (RFC 6238 §5.2)."""
FAR = 120
"""Steps, an hour: no right clock is so far ahead of a code that is accepted now."""
ISSUER = "Edge Appliance"


def new_secret() -> bytes:
    """Return a new secret for an authenticator."""
    return secrets.token_bytes(SECRET_BYTES)


def code(secret: bytes, step: int) -> str:
    """Return the code of a time step (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: bytes, given: str, clocks: Collection[float], last_step: int | None) -> int | None:
    """Return the time step of a code if it is near one of ``clocks`` (seconds since 1970) and not used yet, else None.

    It is used if it is not after ``last_step``, unless that is FAR ahead: then a wrong clock accepted the last code.
    """
    compact = given.replace(" ", "")
    near = {int(now // STEP) + drift for now in clocks for drift in range(-DRIFT, DRIFT + 1)}
    matching = [
        step
        for step in sorted(near)
        if step >= 0 and hmac.compare_digest(code(secret, step).encode(), compact.encode("utf-8", "replace"))
    ]
    return next((step for step in matching if last_step is None or not step <= last_step <= step + FAR), None)


def typed(secret: bytes) -> str:
    """Return the secret as a person types it into an authenticator: base 32, in groups of four."""
    text = base64.b32encode(secret).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def address(secret: bytes, email: str, appliance_name: str) -> str:
    """Return the ``otpauth:`` address that authenticators open."""
    label = quote(f"{ISSUER} {appliance_name}:{email}")
    query = {"secret": base64.b32encode(secret).decode(), "issuer": f"{ISSUER} {appliance_name}"}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"


def parse(text: str) -> bytes | None:
    """Return the secret from the text of :func:`typed`, in any case, or None for anything else."""
    try:
        secret = base64.b32decode(text.replace(" ", "").upper())
    except ValueError:
        return None
    return secret if len(secret) == SECRET_BYTES else None
