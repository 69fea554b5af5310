"""What the form of a renewal holds, from one step of it to the next.

Enters: the fields of a form, or the query of an address. Leaves: a draft, and the request that it makes. Never: a check
against the subscription, which is the plan's. Chosen devices travel as one field, however many there are, beside the
checkboxes of those that the page shows.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlencode

from appliance.renewals.plan import MOST_SEATS, TERM_DAYS, Request
from appliance.renewals.renewal import MOST_KEY
from appliance.subscriptions.lifecycle import Subscription
from appliance.subscriptions.store import MAX_TEXT
from appliance.web.page.forms import Fields

USUAL_DAYS = 365
MOST_CHOSEN_TEXT = 900_000
"""Characters of all chosen ids: a form has a megabyte."""
MAX_SEARCH = 200
MOST_ADDRESS = 4000
"""Characters of an address that holds a draft; a longer draft is shown without one of its own."""


class Step(StrEnum):
    """What a button of the form asks for."""

    FIND = "find"
    """Show the form again: other devices, other dates."""
    LONGEST = "longest"
    """Choose the devices that are silent for the longest time."""
    REVIEW = "review"
    CHANGE = "change"
    """Go back from the review to the form."""
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Draft:
    """A renewal that is being filled in."""

    term_days: int
    seats: int
    plan_id: str
    """Empty: it stays."""
    chosen: tuple[str, ...]
    again: bool
    key: str
    search: str = ""

    def request(self, row: Subscription) -> Request:
        """Return the request that the draft makes of a subscription. It depends on nothing that the renewal changes."""
        return Request(
            row.subscription_id, self.term_days, self.seats, self.plan_id or None, self.chosen, again=self.again
        )

    def having(self, chosen: Sequence[str]) -> "Draft":
        """Return the draft with other devices."""
        return replace(self, chosen=tuple(chosen))

    def renewed_key(self) -> "Draft":
        """Return the draft as one that was never sent."""
        return replace(self, key=new_key())

    def address(self, path: str, step: Step, **more: str) -> str:
        """Return the address that shows the draft."""
        values = {
            "step": step.value,
            "term_days": str(self.term_days),
            "new_device_limit": str(self.seats),
            "plan_id": self.plan_id,
            "chosen": " ".join(self.chosen),
            "again": "on" if self.again else "",
            "key": self.key,
        }
        return f"{path}?{urlencode({name: value for name, value in (values | more).items() if value})}"


def new_key() -> str:
    """Return an idempotency key for a form that is made now."""
    return f"form-{secrets.token_urlsafe(18)}"


def fresh(row: Subscription) -> Draft:
    """Return the draft with which the form of a subscription begins."""
    return Draft(USUAL_DAYS, row.device_limit, "", (), again=False, key=new_key())


def draft_of(fields: Fields, row: Subscription) -> Draft:
    """Return the draft that fields hold. Raises Invalid, which names the field."""
    days = fields.whole("term_days", least=1, most=max(TERM_DAYS))
    seats = fields.whole("new_device_limit", least=1, most=MOST_SEATS)
    return Draft(
        USUAL_DAYS if days is None else days,
        row.device_limit if seats is None else seats,
        fields.text("plan_id", most=MAX_TEXT),
        _chosen(fields),
        again=fields.flag("again"),
        key=fields.text("key", most=MOST_KEY) or new_key(),
        search=fields.text("q", most=MAX_SEARCH),
    )


def fields_of(query: Mapping[str, str]) -> Fields:
    """Return the fields of an address."""
    return Fields({name: [value] for name, value in query.items()})


def _chosen(fields: Fields) -> tuple[str, ...]:
    """Return the chosen devices: those of before, without those that were shown, with those that are ticked."""
    before = fields.raw("chosen", most=MOST_CHOSEN_TEXT).split()
    shown = set(fields.raw("shown", most=MOST_CHOSEN_TEXT).split())
    kept = [one for one in before if one not in shown]
    return tuple(dict.fromkeys([*kept, *fields.many("device")]))
