"""The query of the list of subscriptions, as it stands in an address, and what of all subscriptions it shows."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta

from appliance.subscriptions.lifecycle import Subscription, usable

PAGE_FAMILIES = 50
"""Subscriptions on a page, their add-ons not counted."""


class ListState(StrEnum):
    """What the list can be narrowed to."""

    SOON = "soon"
    ENDED = "ended"


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query of the page."""

    state: ListState | None = None
    cursor: Annotated[str, Meta(max_length=1000)] = ""


Matches = Callable[[Subscription, datetime, timedelta], bool]


def ends_soon(row: Subscription, now: datetime, soon: timedelta) -> bool:
    """Return whether a subscription with its status of ``now`` ends within ``soon``, or is in its grace."""
    return row.term_end - now <= soon and (row.term_end > now or usable(row.status))


def has_ended(row: Subscription, now: datetime, _soon: timedelta) -> bool:
    """Return whether the term of a subscription is over, grace included."""
    return row.term_end <= now


MATCHES: Mapping[ListState, Matches] = MappingProxyType({ListState.SOON: ends_soon, ListState.ENDED: has_ended})


def matches(state: ListState | None, row: Subscription, now: datetime, soon: timedelta) -> bool:
    """Return whether the list shows a subscription; its add-ons come with it."""
    return state is None or MATCHES[state](row, now, soon)
