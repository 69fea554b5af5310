"""Secrets that a person carries and we only recognise: session ids, links, tokens. Shown once, kept as hashes."""

import hashlib
import secrets

BYTES = 32
"""256 bits: beyond guessing, so a fast hash keeps them."""


def new() -> str:
    """A secret that goes into a cookie, an address or a header as it is."""
    return secrets.token_urlsafe(BYTES)


def digest(secret: str) -> bytes:
    """As the secret is kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
