"""Text that people type on one line, such as names and reasons: what it may hold, judged in one place.

Characters that are not seen are refused, since with them a name can be shown as another one, or break a line of a list,
a notice or a log: control characters, ends of lines and paragraphs, marks that turn the direction of writing, and
others without a picture. Spaces of any width are fine, and so are the joiners of Persian, Hindi and of emoji.
"""

import unicodedata
from itertools import groupby

JOINERS = frozenset("\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}")
"""Invisible signs that words of some languages, and emoji made of several, need."""
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: controls, formats, halves of characters, ends of lines and of paragraphs."""


def is_plain(text: str, *, lines: bool = False) -> bool:
    """Return whether a text holds nothing unseen; ``lines``: it may have several lines, and tabs."""
    if text.isascii() and text.isprintable():
        return True  # nearly every text
    return all(_is_seen(sign) or (lines and sign in "\n\t") for sign in text)


def plain(text: str) -> str:
    """Return a text with one blank in place of whatever is not seen."""
    runs = groupby(text, _is_seen)
    return "".join("".join(signs) if seen else " " for seen, signs in runs)


def _is_seen(sign: str) -> bool:
    return sign in JOINERS or unicodedata.category(sign) not in UNSEEN
