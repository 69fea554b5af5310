"""Secrets in what is kept of a try: masked whole, in every form in which a receiver may send them back."""

import base64
import json
from collections.abc import Collection, Iterator
from urllib.parse import parse_qsl, quote

from appliance.delivery.outgoing.urls import Url

MASK = "••••••••"
_LONG_ENOUGH = 8
"""Characters of a word within a secret that is looked for by itself: shorter ones stand in any text."""
_TOKEN = 16
"""Characters of a part of an address that is taken for a token."""


class Mask:
    """Masks a set of secrets."""

    def __init__(self, secrets: Collection[str]) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._texts = sorted(forms, key=len, reverse=True)  # the longest first: a part would leave the rest
        self._bytes = [form.encode() for form in self._texts]

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for form in self._texts:
            text = text.replace(form, MASK)
        return text

    def bytes(self, data: bytes) -> bytes:
        """Return bytes without the secrets."""
        for form in self._bytes:
            data = data.replace(form, MASK.encode())
        return data

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Mask({len(self._texts)} forms)"


def of_address(url: Url) -> Iterator[str]:
    """Yield what is secret of an address that is a secret itself: all of it, and the tokens in it."""
    yield url.text
    path, _, query = url.target.partition("?")
    if url.target != "/":
        yield url.target
    yield from (part for part in path.split("/") if len(part) >= _TOKEN)
    yield from (value for _, value in parse_qsl(query) if len(value) >= _TOKEN)


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it may be sent back: as it is, its words, quoted for JSON and addresses, in Base64."""
    words = [word for word in secret.split() if len(word) >= _LONG_ENOUGH]
    for one in (secret, *words):
        yield one
        yield json.dumps(one)[1:-1]
        yield quote(one, safe="")
        yield base64.b64encode(one.encode()).decode().rstrip("=")
