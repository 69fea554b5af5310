"""What the configuration says of renewals."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RenewalPolicy:
    """The settings of ``[subscriptions]``."""

    grace: timedelta
    """``grace_days``: how long a paid subscription works on after its term."""
    opens_days: int
    """``renewal_opens_days``: days of the calendar before its end from which a term is renewed without ``again``."""
    plans: Mapping[str, int]
    """``[subscriptions.plans]``: the most seats of each plan; without plans there is no cap."""

    @property
    def soon(self) -> timedelta:
        """Return how long before its end a term counts as ending soon."""
        return timedelta(days=self.opens_days)
