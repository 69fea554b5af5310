"""The second factor: time-based one-time codes (RFC 6238: HMAC-SHA-1, six digits, steps of 30 s), each good once."""

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

STEP = 30
"""Seconds that a code stands."""
DIGITS = 6
SECRET_BYTES = 20
"""As long as the hash (RFC 4226 §4)."""
DRIFT = 1
"""Steps that a telephone's clock may be off, either way (RFC 6238 §5.2)."""
ISSUER = "Edge Appliance"


def new_secret() -> bytes:
    """A secret for an authenticator."""
    return secrets.token_bytes(SECRET_BYTES)


def code(secret: bytes, step: int) -> str:
    """The code of a time step (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: bytes, given: str, now: float, last_step: int | None) -> int | None:
    """The time step whose code was given, if it is near ``now`` (seconds since 1970) and later than ``last_step``."""
    compact = given.replace(" ", "")
    current = int(now // STEP)
    fitting = [
        step
        for step in range(current - DRIFT, current + DRIFT + 1)
        if hmac.compare_digest(code(secret, step).encode(), compact.encode("utf-8", "replace"))
    ]
    return next((step for step in fitting if last_step is None or step > last_step), None)


def typed(secret: bytes) -> str:
    """The secret as a person types it into an authenticator: base 32, in groups of four."""
    text = base64.b32encode(secret).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def address(secret: bytes, email: str, appliance_name: str) -> str:
    """The ``otpauth:`` address that authenticators open."""
    label = quote(f"{ISSUER} {appliance_name}:{email}")
    query = {"secret": base64.b32encode(secret).decode(), "issuer": f"{ISSUER} {appliance_name}"}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"


def parse(text: str) -> bytes | None:
    """The secret that :func:`typed` wrote, in whatever case; None for anything else."""
    try:
        secret = base64.b32decode(text.replace(" ", "").upper())
    except ValueError:
        return None
    return secret if len(secret) == SECRET_BYTES else None
