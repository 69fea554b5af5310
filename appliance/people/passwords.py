"""Passwords: which are taken, and how they are kept and compared.

Hashes are argon2id. One takes tens of milliseconds and 19 MiB, so they are made in threads, two at a time, however many
people sign in at once. Somebody who does not exist costs as much as somebody who does.
"""

import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import argon2
import trio
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from appliance.people.common_passwords import SEQUENCES, WORDS

MIN_LENGTH = 12
MAX_LENGTH = 256
"""Characters; more is not read at all."""
AT_ONCE = 2
"""Hashes in the making at any moment, in the whole process."""
MIN_DISTINCT = 5
"""Different characters; fewer are a pattern."""
MIN_OWN = 4
"""Characters that must be left when common words and runs of keys are taken out."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a hash costs (OWASP's minimum for argon2id: 19 MiB, two passes, one lane)."""

    memory_kib: int = 19 * 1024
    passes: int = 2
    lanes: int = 1


DEFAULT_COST = Cost()


class Hasher:
    """Hashes and compares passwords off the event loop, a few at a time."""

    def __init__(self, cost: Cost = DEFAULT_COST) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes, type=argon2.Type.ID
        )
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._nobodys = self._argon2.hash("a password that nobody has")
        self.made = 0
        """How many hashes were computed."""

    async def hash(self, password: str) -> str:
        """As the password is kept."""
        self.made += 1
        return await trio.to_thread.run_sync(partial(self._argon2.hash, _prepared(password)), limiter=self._limiter)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Whether ``password`` is the one kept; ``None`` stands for nobody, takes as long and never matches."""
        self.made += 1
        found = await trio.to_thread.run_sync(
            self._compare, kept or self._nobodys, _prepared(password), limiter=self._limiter
        )
        return found and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether a hash was made at another cost than today's, and is to be made anew when its owner comes."""
        return self._argon2.check_needs_rehash(kept)

    def _compare(self, kept: str, password: str) -> bool:
        try:
            return self._argon2.verify(kept, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError):  # not a hash of ours: nobody comes in with it
            return False


def fault_of(password: str, personal: Iterable[str] = ()) -> str | None:
    """Why the password is not taken, in words that end without a full stop; None if it is.

    ``personal``: what others know of its owner, such as the e-mail address and the name.
    """
    if len(password) < MIN_LENGTH:
        return f"A password has at least {MIN_LENGTH} characters; a few words are good"
    if len(password) > MAX_LENGTH:
        return f"A password has at most {MAX_LENGTH} characters"
    plain = unicodedata.normalize("NFKC", password).lower()
    if len(set(plain)) < MIN_DISTINCT or _repeats(plain):
        return "This repeats itself; choose something harder to guess"
    known = {part for text in personal for part in _parts(text)}
    if len(_own(plain, known)) < MIN_OWN:
        return "This is made of common words; choose something harder to guess"
    return None


def _prepared(password: str) -> str:
    """The same characters however they were typed (NIST SP 800-63B §5.1.1.2)."""
    return unicodedata.normalize("NFKC", password[: MAX_LENGTH + 1]).encode("utf-8", "replace").decode()


def _repeats(plain: str) -> bool:
    """Whether it is one piece over and over: ``abcabcabcabc``."""
    return plain in (plain + plain)[1:-1]


def _parts(text: str) -> list[str]:
    """Words of an address or a name that are long enough to matter."""
    words = "".join(character if character.isalnum() else " " for character in text.lower()).split()
    return [word for word in words if len(word) >= MIN_OWN]


LEET = str.maketrans("013457@$!", "oleastasi")


def _own(plain: str, known: set[str]) -> str:
    """What is left of a password without common words, its owner's, runs of keys, digits and punctuation."""
    core = plain.strip("".join(_FILLING))  # what stands for letters stands within, not at the ends
    readings = {plain, plain.translate(LEET), core.translate(LEET)}
    return min((_stripped(reading, known) for reading in readings), key=len)


def _stripped(text: str, known: set[str]) -> str:
    for word in sorted(WORDS | known, key=len, reverse=True):
        text = text.replace(word, " ")
    for sequence in SEQUENCES:
        for length in range(len(sequence), MIN_OWN - 1, -1):
            for start in range(len(sequence) - length + 1):
                run = sequence[start : start + length]
                text = text.replace(run, " ").replace(run[::-1], " ")
    return "".join(character for character in text if character not in _FILLING)


_FILLING = frozenset(string.digits + string.punctuation + string.whitespace)
