"""The id of a request: in its answer, in all that is logged for it, and on the page of a surprise.

A caller may choose it (``X-Request-Id``), so that its own log and ours say the same. What is not a plain word of some
length is replaced.
"""

import re
import secrets

HEADER = "X-Request-Id"
BYTES = 8
"""Of random: two requests have the same id once in billions."""
_CHOSEN = re.compile(r"[A-Za-z0-9._-]{8,64}")


def request_id(chosen: str | None) -> str:
    """Return the id that the caller has chosen if it fits, else a new one."""
    if chosen is not None and _CHOSEN.fullmatch(chosen):
        return chosen
    return secrets.token_hex(BYTES)
