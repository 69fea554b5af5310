"""What people may ask of a route: each fault names the field, as the API and the form call it, and the mend.

Never: a look into the database, see :mod:`store`.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import time
from uuid import UUID

from appliance import zones
from appliance.delivery.routes.route import DeliverOn, QuietHours, Route
from appliance.errors import Invalid
from appliance.plain_text import is_plain
from appliance.severity import Severity

MAX_NAME = 128
"""Characters of a name, as the database has it."""
MAX_LISTED = 200
"""Entries of each list."""
MAX_TAG = 256
"""Characters of a tag, as those of devices."""
IDENTIFIER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
"""Of sites and devices, and so of what device ids begin with."""
RANGES = {
    "priority": (1_000_000, "a whole number"),
    "delay_seconds": (604_800, "whole seconds"),
    "remind_minutes": (10_080, "whole minutes"),
    "throttle_seconds": (604_800, "whole seconds"),
    "burst": (10_000, "a whole number"),
}
"""The most of each number, a week for times; the least is 0."""


@dataclass(frozen=True, slots=True)
class QuietDraft:
    """Quiet hours as a person wants them."""

    begins: time
    ends: time
    zone: str | None = None
    """None: that of the tenant."""
    spares_critical: bool = True


@dataclass(frozen=True, slots=True)
class RouteDraft:
    """A route as a person wants it."""

    name: str
    integration_id: UUID
    severities: Sequence[str]
    enabled: bool = True
    alert_types: Sequence[str] = ()
    site_ids: Sequence[str] = ()
    tags: Sequence[str] = ()
    device_prefixes: Sequence[str] = ()
    deliver_on: Sequence[str] = (DeliverOn.OPEN, DeliverOn.CLOSED)
    priority: int = 100
    stop: bool = False
    delay_seconds: int = 0
    remind_minutes: int = 0
    throttle_seconds: int = 0
    burst: int = 10
    quiet: QuietDraft | None = None


def draft_of(route: Route) -> RouteDraft:
    """Return a route as a draft, to be edited."""
    quiet = route.quiet
    values = {name: getattr(route, name) for name in RouteDraft.__slots__ if name != "quiet"}
    begun = None if quiet is None else QuietDraft(quiet.begins, quiet.ends, quiet.zone, quiet.spares_critical)
    return RouteDraft(**values, quiet=begun)


def checked(draft: RouteDraft, alert_types: Collection[str], kept_zone: str | None = None) -> RouteDraft:
    """Return a draft that may be written: names trimmed, words in their own case, each once. Raises Invalid.

    ``kept_zone``: that of the quiet hours before, which may stay.
    """
    name = draft.name.strip()
    if not 1 <= len(name) <= MAX_NAME or not is_plain(name):
        raise Invalid(f"`name`: a name has 1 to {MAX_NAME} characters on one line, all of which can be seen.", "name")
    for field, (most, kind) in RANGES.items():
        if not 0 <= getattr(draft, field) <= most:
            raise Invalid(f"`{field}`: write {kind} from 0 to {most}.", field)
    severities = _words("severities", map(str.lower, draft.severities), [one.value for one in Severity])
    deliver_on = _words("deliver_on", map(str.upper, draft.deliver_on), [one.value for one in DeliverOn])
    if not severities or not deliver_on:
        field = "deliver_on" if severities else "severities"
        raise Invalid(f"`{field}`: choose at least one.", field)
    if draft.remind_minutes and DeliverOn.OPEN not in deliver_on:
        mend = "only a route that delivers OPEN reminds; add OPEN to deliver_on, or write 0"
        raise Invalid(f"`remind_minutes`: {mend}.", "remind_minutes")
    _check_quiet(draft.quiet, kept_zone)
    return replace(
        draft,
        name=name,
        severities=severities,
        alert_types=_words("alert_types", map(str.upper, draft.alert_types), alert_types),
        site_ids=_ids("site_ids", draft.site_ids, "a site id"),
        tags=_tags(draft.tags),
        device_prefixes=_ids("device_prefixes", draft.device_prefixes, "the start of a device id"),
        deliver_on=deliver_on,
    )


def quiet_of(draft: QuietDraft | None, tenant_zone: str) -> QuietHours | None:
    """Return quiet hours as they are written."""
    if draft is None:
        return None
    return QuietHours(draft.begins, draft.ends, zones.stored(draft.zone or tenant_zone), draft.spares_critical)


def _words(field: str, given: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Return words in the order in which they are known."""
    wanted = [word.strip() for word in given]
    for word in wanted:
        if word not in known:
            raise Invalid(f"`{field}`: {_shown(word)} is none of {', '.join(known)}.", field)
    return tuple(word for word in known if word in wanted)


def _ids(field: str, given: Sequence[str], what: str) -> tuple[str, ...]:
    _check_length(field, given)
    for one in given:
        if not IDENTIFIER.fullmatch(one):
            raise Invalid(f"`{field}`: {_shown(one)} is not {what}, which has 1 to 64 of A-Z a-z 0-9 . _ - .", field)
    return tuple(dict.fromkeys(given))


def _tags(given: Sequence[str]) -> tuple[str, ...]:
    _check_length("tags", given)
    for tag in given:
        if not 1 <= len(tag) <= MAX_TAG or not is_plain(tag):
            raise Invalid(f"`tags`: a tag has 1 to {MAX_TAG} characters on one line, all of which can be seen.", "tags")
    return tuple(dict.fromkeys(given))


def _check_length(field: str, given: Sequence[str]) -> None:
    if len(given) > MAX_LISTED:
        raise Invalid(f"`{field}`: list at most {MAX_LISTED}; a tag can stand for many devices.", field)


def _check_quiet(quiet: QuietDraft | None, kept_zone: str | None) -> None:
    if quiet is None:
        return
    for field, moment in (("quiet_hours.begins", quiet.begins), ("quiet_hours.ends", quiet.ends)):
        if moment.tzinfo is not None or moment.second or moment.microsecond:
            raise Invalid(f"`{field}`: write a local time in whole minutes, such as 22:00.", field)
    if quiet.begins == quiet.ends:
        raise Invalid("`quiet_hours.ends`: choose another time than that of the beginning.", "quiet_hours.ends")
    fault = None if quiet.zone is None else zones.fault_of(quiet.zone, kept_zone)
    if fault is not None:
        raise Invalid(f"`quiet_hours.zone`: {fault}.", "quiet_hours.zone")


def _shown(word: str) -> str:
    return repr("".join(character if character.isprintable() else "?" for character in word[:64]))
