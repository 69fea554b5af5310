"""Random secrets of sessions, links and API tokens: given out once, stored as hashes."""

import hashlib
import secrets

BYTES = 32
"""256 bits cannot be guessed, so that a fast hash is enough."""


def new() -> str:
    """Return a new secret; it needs no escaping in a cookie, an address or a header."""
    return secrets.token_urlsafe(BYTES)


def digest(secret: str) -> bytes:
    """Return the hash under which a secret is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
