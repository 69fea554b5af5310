"""What the form of a renewal shows: what it would do, the devices to choose from, and why its button waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from typing import Any

from appliance.counted import counted
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import IDENTIFIER, DeviceStatus
from appliance.devices.seats import changes as seats
from appliance.renewals import requests
from appliance.renewals.candidates import Candidate, candidates
from appliance.renewals.plan import TERM_DAYS, NotOpen, Plan, Refusal, plan
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions.lifecycle import Subscription
from appliance.subscriptions.terms import last_full_day
from appliance.web.page.faults import Fault
from appliance.web.subscriptions import labels
from appliance.web.subscriptions.labels import SubscriptionLabel
from appliance.web.subscriptions.renewal_draft import Draft

SHOWN_DEVICES = 50
"""Devices in the list; others are found by searching."""
FIELDS = ("term_days", "new_device_limit", "plan_id")


@dataclass(frozen=True, slots=True)
class PickRow:
    """A device that can be chosen."""

    device: Candidate
    silent: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class RenewalForm:
    """The form at one step."""

    label: SubscriptionLabel
    draft: Draft
    given: Mapping[str, str]
    """The fields as they were typed."""
    effect: str
    """What the renewal does, in one sentence."""
    plan: Plan | None
    """What it would do; None while a field is wrong, it is too early, or it cannot be."""
    opens_on: date | None
    """The day from which it can be renewed, where that is still to come."""
    repeated: bool
    """Whether the same renewal was made within a day: another one has to be asked for on purpose."""
    plans: Sequence[tuple[str, str]]
    blocked: str
    """Why it cannot be renewed at all; empty: it can."""
    needed: int
    """How many devices must stop."""
    picks: Sequence[PickRow]
    dropped: int
    """Devices that were chosen and are not active any more."""
    addons: Sequence[str]
    """What the add-ons that follow are called."""
    fault: Fault | None
    first_day: date | None

    @property
    def terms(self) -> tuple[int, ...]:
        """Return the terms that can be bought."""
        return TERM_DAYS

    @property
    def shown(self) -> str:
        """Return the ids of the devices in the list, as one field."""
        return " ".join(pick.device.device_id for pick in self.picks)

    @property
    def beside(self) -> str:
        """Return the ids of chosen devices that are not in the list, as one field."""
        listed = {pick.device.device_id for pick in self.picks}
        return " ".join(one for one in self.draft.chosen if one not in listed)

    @property
    def why(self) -> str:
        """Return why the button waits; empty: it does not."""
        if self.fault is not None:
            return "Correct the field to continue."
        if self.plan is None:
            return "Tick “Renew early”, or change the seats, to continue." if self.opens_on else ""
        if self.repeated and not self.draft.again:
            return "Tick “Renew once more” to continue."
        if not self.needed:
            return ""  # devices that were chosen before more seats were asked for stay out of it
        missing = self.needed - len(self.draft.chosen)
        if missing > 0:
            more = "more " if self.draft.chosen else ""
            return f"Choose {missing:,} {more}device{'s' if missing != 1 else ''} to continue."
        return f"Choose {-missing:,} fewer to continue." if missing < 0 else ""


@dataclass(frozen=True, slots=True)
class FormReader:
    """Reads what the form of a subscription shows."""

    row: Subscription
    owned: Sequence[Subscription]
    """All of its tenant."""
    zone: tzinfo | None
    now: datetime
    settled: datetime
    policy: RenewalPolicy

    async def form(
        self,
        connection: Connection[Any],
        draft: Draft,
        given: Mapping[str, str] | None = None,
        fault: Fault | None = None,
    ) -> RenewalForm:
        """Return the form with a draft; ``given``: its fields as typed, where one is wrong, as ``fault`` says."""
        outcome = self.outcome(draft)
        planned = outcome if isinstance(outcome, Plan) and fault is None else None
        blocked = ""
        if isinstance(outcome, Refusal) and fault is None:
            if outcome.field is None:
                blocked = outcome.message
            else:
                fault = (outcome.field, outcome.message)
        needed = planned.excess if planned is not None else 0
        draft, dropped = await self._active(connection, draft, needed)
        picks = await self._picks(connection, draft) if needed else []
        early = self.outcome(replace(draft, again=False, seats=self.row.device_limit, plan_id=""))
        return RenewalForm(
            labels.subscription_label(self.row, self.settled, self.zone, self.policy),
            draft,
            typed(draft) if given is None else given,
            self._effect(),
            planned,
            early.opens_on if isinstance(early, NotOpen) else None,
            planned is not None and await self.repeats(connection, draft),
            self._plans(),
            blocked,
            needed,
            picks,
            dropped,
            [labels.subscription_title(before) for before, _ in planned.addons] if planned is not None else (),
            fault,
            None if planned is None else planned.start.astimezone(self.zone).date(),
        )

    def outcome(self, draft: Draft) -> Plan | NotOpen | Refusal:
        """Return what the draft would do now, whichever devices are chosen."""
        return plan(self.owned, self.row, draft.request(self.row), self.now, self.zone, policy=self.policy)

    async def repeats(self, connection: Connection[Any], draft: Draft) -> bool:
        """Return whether the same renewal was made within a day."""
        asked = draft.request(self.row)
        return await requests.find_equal(connection, self.row, asked, now=self.now) is not None

    async def longest_silent(self, connection: Connection[Any], draft: Draft) -> Draft:
        """Return the draft with as many devices as must stop: those that are silent for the longest time."""
        outcome = self.outcome(draft)
        needed = outcome.excess if isinstance(outcome, Plan) else 0
        if not needed:
            return draft
        found = await candidates(connection, self.row.tenant_id, self.row.subscription_id, limit=needed)
        return draft.having([one.device_id for one in found])

    async def _active(self, connection: Connection[Any], draft: Draft, needed: int) -> tuple[Draft, int]:
        """Return the draft without devices that are not active on the subscription, and how many those are."""
        if not needed or not draft.chosen:
            return draft, 0
        named = filter(IDENTIFIER.fullmatch, draft.chosen)
        present = await seats.select_devices(connection, self.row.tenant_id, named)
        kept = [
            one
            for one in draft.chosen
            if (device := present.get(one)) is not None
            and device.status is DeviceStatus.ACTIVE
            and device.subscription_id == self.row.subscription_id
        ]
        return draft.having(kept), len(draft.chosen) - len(kept)

    async def _picks(self, connection: Connection[Any], draft: Draft) -> list[PickRow]:
        found = await candidates(
            connection, self.row.tenant_id, self.row.subscription_id, search=draft.search, limit=SHOWN_DEVICES
        )
        chosen = set(draft.chosen)
        return [PickRow(one, silence(one, self.now), one.device_id in chosen) for one in found]

    def _effect(self) -> str:
        last_day = last_full_day(self.row.term_end, self.zone)
        if self.row.term_end <= self.now:
            return f"The term ended after {last_day:%-d %B %Y}. The new one starts now."
        left = labels.days_left(self.row, self.now, self.zone)
        when = f"in {left:,} day{'s' if left != 1 else ''}" if left else "within a day"
        return f"The term ends {when}. The new one starts right after it, no paid day is lost."

    def _plans(self) -> list[tuple[str, str]]:
        """Return the plans to choose from, with what the subscription has first; none where none are configured."""
        if not self.policy.plans:
            return []
        present = self.row.plan_id
        stays = [("", "No plan")] if present is None else [] if present in self.policy.plans else [("", present)]
        return stays + [
            ("" if name == present else name, f"{name}, up to {counted(most, 'seat')}")
            for name, most in sorted(self.policy.plans.items(), key=lambda pair: (pair[1], pair[0]))
        ]


def typed(draft: Draft) -> dict[str, str]:
    """Return the fields of a draft as text."""
    return {"term_days": str(draft.term_days), "new_device_limit": str(draft.seats), "plan_id": draft.plan_id}


def silence(device: Candidate, now: datetime) -> str:
    """Return how long a device has been silent: ``silent for 41 days``."""
    seconds = max(0.0, (now - device.silent_since).total_seconds())
    minutes = int(seconds // 60)
    days, hours = minutes // 1440, minutes // 60
    if days:
        lasted = f"{days:,} day{'s' if days != 1 else ''}"
    elif hours:
        lasted = f"{hours} h {minutes % 60} min" if hours < 10 and minutes % 60 else f"{hours} h"
    else:
        lasted = f"{minutes} min"
    return f"silent for {lasted}" if device.last_seen_at is not None else f"never heard, {lasted} old"
