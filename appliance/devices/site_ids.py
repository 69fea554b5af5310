"""The site that a message names: an id, or a name from which an id is made.

Firmware writes what people call a place (``Halle 1``, ``café``, ``Werk/Nord``). Such a text is the site's name, and its
id is made from it: what is left of it in the grammar of ids, and six digits of its hash, so that ``Halle 1`` and
``Halle/1`` stay two sites. The same text always makes the same id; migration 0019 makes it by the same rule.
"""

import re
import unicodedata
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from appliance.devices.device import IDENTIFIER
from appliance.plain_text import plain

MAX_READABLE = 57
"""Characters of an id before the hyphen and the digits of the hash: 64 in all."""
MAX_KNOWN = 4096
"""Texts whose sites are remembered; a fleet names a few hundred."""
_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")


class MentionedSite(NamedTuple):
    """A site as a message mentions it. ``name`` is None where the text is a valid id."""

    site_id: str
    name: str | None


@lru_cache(maxsize=MAX_KNOWN)
def mentioned_site(text: str) -> MentionedSite:
    """Return the site that ``text`` (not empty) names."""
    if IDENTIFIER.fullmatch(text):
        return MentionedSite(text, None)
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    readable = _OTHERS.sub("-", ascii_only).strip("-.")[:MAX_READABLE] or "site"
    digits = sha256(text.encode()).hexdigest()[:6]
    return MentionedSite(f"{readable}-{digits}", plain(text).strip() or None)
