"""Passwords: which are accepted, and how they are hashed and compared.

Hashes are argon2id. One takes tens of milliseconds and 19 MiB, so they are computed in threads, at most two at a time,
however many people sign in at once. An unknown user costs as much time as a known one.
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
"""Characters; a longer password is refused without being hashed."""
AT_ONCE = 2
"""Hashes computed at the same time in the whole process."""
MIN_DISTINCT = 5
"""Least number of different characters."""
MIN_OWN = 4
"""Characters that must remain when common words and runs of keys are removed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a hash (OWASP's minimum for argon2id: 19 MiB, two passes, one lane)."""

    memory_kib: int = 19 * 1024
    passes: int = 2
    lanes: int = 1


DEFAULT_COST = Cost()


class Hasher:
    """Hashes and compares passwords in threads, a few at a time."""

    def __init__(self, cost: Cost = DEFAULT_COST) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes, type=argon2.Type.ID
        )
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._unknown_user_hash = self._argon2.hash("a password that nobody has")
        self.made = 0
        """Number of hashes computed so far."""

    async def hash(self, password: str) -> str:
        """Return the hash of a password."""
        self.made += 1
        return await trio.to_thread.run_sync(partial(self._argon2.hash, _prepared(password)), limiter=self._limiter)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Return whether ``password`` has the hash ``kept``; None, an unknown user, takes as long and never matches."""
        self.made += 1
        matching = await trio.to_thread.run_sync(
            self._compare, kept or self._unknown_user_hash, _prepared(password), limiter=self._limiter
        )
        return matching and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Return whether a hash has another cost than today's; it is replaced when its owner signs in."""
        return self._argon2.check_needs_rehash(kept)

    def _compare(self, kept: str, password: str) -> bool:
        try:
            return self._argon2.verify(kept, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError):  # not an argon2 hash: no password matches it
            return False


def fault_of(password: str, personal: Iterable[str] = ()) -> str | None:
    """Return why the password is not accepted, as a sentence without a full stop, or None if it is accepted.

    ``personal``: what others know about its owner, such as the e-mail address and the name.
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
    """Return the normalised password: the same bytes for the same characters (NIST SP 800-63B §5.1.1.2)."""
    return unicodedata.normalize("NFKC", password[: MAX_LENGTH + 1]).encode("utf-8", "replace").decode()


def _repeats(plain: str) -> bool:
    """Return whether one part repeats: ``abcabcabcabc``."""
    return plain in (plain + plain)[1:-1]


def _parts(text: str) -> list[str]:
    """Return the words of an address or a name that are long enough to matter."""
    words = "".join(character if character.isalnum() else " " for character in text.lower()).split()
    return [word for word in words if len(word) >= MIN_OWN]


LEET = str.maketrans("013457@$!", "oleastasi")


def _own(plain: str, known: set[str]) -> str:
    """Return the rest of a password without common words, its owner's words, runs of keys, digits and punctuation."""
    core = plain.strip("".join(_FILLING))  # digits and signs stand for letters inside a word, not at its ends
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
