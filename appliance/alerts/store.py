"""Alerts as people see them: one by itself, lists of them, and how many there are.

Enters: a connection and an :class:`AlertFilter`. Leaves: :class:`ListedAlert`. Never: a change. The role may be
``appliance_web`` with its tenant set; another tenant's alert is not there.

``settled`` is the instant by which a silence ends: the present while the clock is trusted. While it is in doubt, no
silence ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec

from appliance.alerts.alert import Alert, AlertType, CloseReason, Status
from appliance.alerts.maintenance.book import ActiveScopes
from appliance.db import statements
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.severity import Severity

STATEMENTS = statements.load("alerts")

MAX_WORDS = 8
"""Words of a search that count."""
MAX_CLOSED_COUNTED = 10_000
"""Closed alerts that are counted at most."""

_ALERT_COLUMNS = 26


class AlertTab(StrEnum):
    """The tabs of the list. Each alert is in ALL and in exactly one of the others."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    """OPEN or ACKNOWLEDGED, and nobody is notified for the time being: by a person, or by a maintenance window."""
    INHIBITED = "inhibited"
    """OPEN or ACKNOWLEDGED, and another alert stands for it."""
    CLOSED = "closed"
    ALL = "all"


class AlertSort(StrEnum):
    """The order of a list."""

    SEVERITY = "severity"
    """Worst first, and of those the one that waits longest."""
    NEWEST = "newest"
    OLDEST = "oldest"
    DEVICE = "device"
    """By the name of the device, newest first; alerts without a device at the end."""


ASCENDING = frozenset({AlertSort.SEVERITY, AlertSort.OLDEST})
"""Orders in which the older of two alerts comes first."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """A filter of alerts: each field narrows the choice; one of several values is enough. Empty matches all."""

    tenant_id: str | None = None
    """None: of all tenants, for operators."""
    tab: AlertTab = AlertTab.ALL
    statuses: Sequence[Status] = ()
    """Plain statuses, whether silenced or inhibited or not."""
    severities: Sequence[Severity] = ()
    types: Sequence[AlertType] = ()
    device_id: str | None = None
    sites: Sequence[str] = ()
    """``""`` are alerts that belong to no site."""
    rule_id: UUID | None = None
    inhibited_by: int | None = None
    """The alert that stands for them."""
    since: datetime | None = None
    """Written at this instant or later."""
    until: datetime | None = None
    """Written before this instant."""
    search: str = ""
    """Words that must all occur in the summary or in the name of the device, its place, the site or the rule."""


@dataclass(frozen=True, slots=True)
class AlertPosition:
    """A position in a sorted list, after one alert: where the next page begins."""

    key: str
    created_at: datetime
    alert_id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert with the names of what it is about, None where nobody named it or where it is gone."""

    alert: Alert
    device_name: str | None
    device_place: str | None
    site_name: str | None
    rule_name: str | None

    def silenced(self, *, settled: datetime) -> bool:
        """Return whether it is silenced at this instant."""
        alert = self.alert
        if alert.status is Status.CLOSED or alert.silenced_until is None:
            return False
        return alert.silenced_until > settled

    def tab(self, *, settled: datetime) -> AlertTab:
        """Return the tab that shows it at this instant, beside ALL, if no maintenance window covers it."""
        if self.alert.status is Status.CLOSED:
            return AlertTab.CLOSED
        if self.alert.inhibited_by is not None:
            return AlertTab.INHIBITED
        if self.silenced(settled=settled):
            return AlertTab.SILENCED
        return AlertTab.OPEN if self.alert.status is Status.OPEN else AlertTab.ACKNOWLEDGED


@dataclass(frozen=True, slots=True)
class AlertPage:
    """A page of a list, and where the next page begins, if there is one."""

    alerts: Sequence[ListedAlert]
    next: AlertPosition | None


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """How many alerts are not closed, by tab and severity."""

    by_tab: Mapping[AlertTab, Mapping[Severity, int]]
    """Of OPEN, ACKNOWLEDGED, SILENCED and INHIBITED, each with every severity."""

    def of(self, tab: AlertTab) -> int:
        """Return the number of alerts in a tab other than CLOSED and ALL. Raises KeyError for those."""
        return sum(self.by_tab[tab].values())

    @property
    def open(self) -> int:
        """The number of alerts that wait for somebody."""
        return self.of(AlertTab.OPEN)

    @property
    def unclosed(self) -> int:
        """The number of all that are not closed."""
        return sum(map(self.of, self.by_tab))

    @property
    def worst(self) -> Severity | None:
        """The worst severity of an alert that waits for somebody; None if none does."""
        return next((severity for severity in Severity if self.by_tab[AlertTab.OPEN][severity]), None)


async def get(connection: Connection[Any], tenant_id: str | None, alert_id: int) -> ListedAlert:
    """Return one alert. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["get_alert"], {"tenant": tenant_id, "alert": alert_id})
    return _listed(require(await cursor.fetchone(), f"alert {alert_id}"))


async def page(
    connection: Connection[Any],
    wanted: AlertFilter,
    *,
    settled: datetime,
    maintenance: ActiveScopes,
    sort: AlertSort,
    limit: int,
    after: AlertPosition | None = None,
) -> AlertPage:
    """Return up to ``limit`` alerts that match, after ``after``. ``maintenance``: what active windows cover."""
    parameters = _filter_parameters(wanted) | {
        **maintenance.parameters(),
        "settled": settled,
        "sort": sort.value,
        "ascending": sort in ASCENDING,
        "limit": limit + 1,
        "after_key": after and after.key,
        "after_at": after and after.created_at,
        "after_id": after and after.alert_id,
    }
    cursor = await connection.execute(STATEMENTS["list_alerts"], parameters, prepare=False)
    rows = await cursor.fetchall()
    alerts = [_listed(row) for row in rows[:limit]]
    behind = None
    if len(rows) > limit:
        last = alerts[-1].alert
        behind = AlertPosition(rows[limit - 1][-1], last.created_at, last.alert_id)
    return AlertPage(alerts, behind)


async def counts(
    connection: Connection[Any], tenant_id: str | None, *, settled: datetime, maintenance: ActiveScopes
) -> AlertCounts:
    """Count the alerts of a tenant (None: of all tenants) that are not closed."""
    parameters = {"tenant": tenant_id, "settled": settled, **maintenance.parameters()}
    cursor = await connection.execute(STATEMENTS["count_unclosed"], parameters, prepare=False)
    tabs = (AlertTab.OPEN, AlertTab.ACKNOWLEDGED, AlertTab.SILENCED, AlertTab.INHIBITED)
    by_tab = {tab: dict.fromkeys(Severity, 0) for tab in tabs}
    for tab, severity, number in await cursor.fetchall():
        by_tab[AlertTab(tab)][Severity(severity)] = number
    return AlertCounts(by_tab)


async def count_closed(connection: Connection[Any], tenant_id: str | None) -> int:
    """Return the number of closed alerts of a tenant (None: of all), or MAX_CLOSED_COUNTED where there are more."""
    parameters = {"tenant": tenant_id, "most": MAX_CLOSED_COUNTED}
    row = await (await connection.execute(STATEMENTS["count_closed"], parameters, prepare=False)).fetchone()
    return int(row[0]) if row else 0


def _filter_parameters(wanted: AlertFilter) -> dict[str, Any]:
    return {
        "tenant": wanted.tenant_id,
        "tab": wanted.tab.value,
        "statuses": [status.value for status in wanted.statuses] or None,
        "severities": [severity.value for severity in Severity],
        "chosen_severities": [severity.value for severity in wanted.severities] or None,
        "types": [kind.value for kind in wanted.types] or None,
        "device": wanted.device_id,
        "sites": list(wanted.sites) or None,
        "rule": wanted.rule_id,
        "cause": wanted.inhibited_by,
        "since": wanted.since,
        "until": wanted.until,
        "patterns": [_pattern(word) for word in wanted.search.lower().replace("\0", "").split()[:MAX_WORDS]] or None,
    }


def _pattern(word: str) -> str:
    """Return the LIKE pattern for ``word`` anywhere."""
    for special in ("\\", "%", "_"):
        word = word.replace(special, f"\\{special}")
    return f"%{word}%"


def _listed(row: tuple[Any, ...]) -> ListedAlert:
    """Return the alert of a row, its columns in the order of ``get_alert``."""
    return ListedAlert(alert_of(row[:_ALERT_COLUMNS]), *row[_ALERT_COLUMNS : _ALERT_COLUMNS + 4])


def alert_of(row: tuple[Any, ...]) -> Alert:
    """Return the alert of a row of ``fleet_alert``: its columns in the order of :class:`Alert`, ``details`` as text."""
    values = list(row)
    values[5], values[7], values[8] = AlertType(row[5]), Status(row[7]), Severity(row[8])
    values[10] = msgspec.json.decode(row[10])
    values[25] = None if row[25] is None else CloseReason(row[25])
    return Alert(*values)
