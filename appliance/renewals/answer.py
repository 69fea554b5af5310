"""The answer to a renewal, as the API gives it and as it is kept for the same request."""

from datetime import date, datetime

import msgspec

ALREADY_ACTIVE = "Already active"
"""The note of an answer to a request that changed nothing."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a subscription. Instants are in UTC."""

    subscription_id: str
    renewed: bool = True
    """It has been renewed, by this request or by the one that it repeats."""
    changed: bool
    """This request has changed it."""
    previous_term_end: datetime
    new_term_end: datetime
    device_limit: int
    devices_deactivated: list[str]
    note: str | None = None
    renewing_opens: date | None = None
    """The first day, in the tenant's zone, on which it can be renewed; None if it could or was."""
    hint: str | None = None
    """What can be done, in one sentence."""
