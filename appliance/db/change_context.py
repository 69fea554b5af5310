"""The context of a change that is made by a person or a program: by whom, from where, and when."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from appliance.db.audit import Actor


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """Who changes something, and when.

    Made where a request enters: by the dashboard's access, by the command line, by a sign-in. How the product reckons
    (the grace of subscriptions, time zones) is no part of it; functions that need such a policy ask for it by name.
    """

    actor: Actor
    """As the audit names them, with the network address they come from."""
    now: datetime
    """The instant of the change, with a time zone."""
    settled: datetime
    """The instant by which terms are judged: ``now`` while the clock is trusted; it stands still while in doubt."""
    user_id: UUID | None
    """The user who is signed in; None for a device, the command line and the appliance itself."""
