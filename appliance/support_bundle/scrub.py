"""Takes out of texts what must not leave the appliance: secrets, mail addresses, paths of URLs; names get pseudonyms.

No part of a bundle is meant to hold a secret. Texts of errors are written by others, though, and may quote one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "********"
_MAIL = re.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,15})://([^\s\"'<>\\]+)", re.IGNORECASE)
_SECRET_LIKE = re.compile(r"\b(?:whsec_|eyJ)[\w+/=.-]{8,}")
"""Beginnings of secrets that say what they are: of webhooks, and JSON web tokens."""
_WORD = re.compile(r"[\w.:-]+")
SHORTEST_SECRET = 6
"""Characters; a shorter one would mask ordinary words."""


class Scrubber:
    """Knows what is secret on this appliance, and who is on it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # the longest first: one may be a part of another
        self._secrets = sorted({each for each in secrets if len(each) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._pseudonyms: dict[str, str] = {}
        self._asked = False

    @property
    def knows_names(self) -> bool:
        """Return whether those on this appliance were named."""
        return self._asked

    def name(self, kind: str, ids: Iterable[str]) -> None:
        """Give pseudonyms to ``ids``: ``kind`` and a number."""
        self._asked = True
        for number, each in enumerate(ids, start=1):
            self._pseudonyms.setdefault(each, f"{kind}-{number}")

    def text(self, text: str) -> str:
        """Return ``text`` without any of it."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _URL.sub(_without_secrets, text)
        text = _SECRET_LIKE.sub(MASK, _MAIL.sub("…@…", text))
        return _WORD.sub(self._pseudonym, text) if self._pseudonyms else text

    def value(self, value: Any) -> Any:
        """Return JSON with each text of it scrubbed; keys are ours and stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value

    def _pseudonym(self, word: re.Match[str]) -> str:
        whole = word[0]
        end = whole.rstrip(".:-")
        if end in self._pseudonyms:
            return self._pseudonyms[end] + whole[len(end) :]
        return self._pseudonyms.get(whole, whole)


def _without_secrets(found: re.Match[str]) -> str:
    """Return a URL with its host alone: user and password stand before it, and the path of a webhook is its secret."""
    host, slash, _ = found[2].rpartition("@")[2].partition("/")
    return f"{found[1]}://{host.partition('?')[0]}{slash and '/…'}"
