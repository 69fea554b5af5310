"""One attempt to sign in, at every account of an e-mail address: what it counts as at each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.people.throttle import AttemptSource, Counted, PasswordsBeside, Throttle
from appliance.people.users import User

Account = tuple[User, str]
"""A user, and the hash of the password; empty where only a code is asked for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The accounts at which an attempt counts, each with its source and what was counted."""

    tried: Sequence[tuple[Account, AttemptSource, Counted]]

    @property
    def accounts(self) -> list[Account]:
        """Return the accounts that need not wait."""
        return [account for account, _, _ in self.tried]

    def source_of(self, user: User) -> AttemptSource:
        """Return the source of the attempt at the account of ``user``, which is among them."""
        return next(source for (tried, _), source, _ in self.tried if tried.user_id == user.user_id)

    def spare_others(self, throttle: Throttle, beside: PasswordsBeside, matching: Sequence[Account]) -> bool:
        """Take back what was no guess: at accounts whose password it is, and at others that it was tried at before.

        Whoever has accounts of two tenants under one address tries the password of the one at the other each time. It
        counts there once: whoever changes the password of their own account to guess at another is counted each time.
        Returns whether it counts as a guess at an account. ``matching``: the accounts whose password it is.
        """
        right = {user.user_id for user, _ in matching}
        guesses = 0
        for (user, _), _, counted in self.tried:
            known = [beside.seen(user.user_id, own.user_id, proof) for own, proof in matching]
            if user.user_id in right:
                if len(matching) > 1:
                    throttle.take_back(counted)
            elif any(known):
                throttle.take_back(counted)
            else:
                guesses += 1
        return guesses > 0
