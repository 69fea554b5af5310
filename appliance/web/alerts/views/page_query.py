"""Reads what the pages of alerts show beside the alerts themselves: rules, flapping, surroundings, choices."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from appliance.alerts.alert import Alert, Status
from appliance.alerts.maintenance.book import ActiveScopes, ActiveWindow
from appliance.alerts.store import ListedAlert, alert_of
from appliance.db import statements
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import alert_notices
from appliance.delivery.outbox.alert_notices import Told
from appliance.devices.metrics import store as metrics
from appliance.devices.metrics.metric import Metric, described
from appliance.web.platform import Platform

STATEMENTS = statements.load("alert_pages")

INHIBITED_SHOWN = 50
"""Alerts of one cause that its page lists."""
NEWEST_PLACES = 1000
"""The newest alerts whose sites can be chosen in the filter, beside those of all that are not closed."""

ALERT_COLUMNS = 26
"""The columns of an alert, which the names of what it is about follow."""

MetricKey = tuple[str, str]
"""Tenant and name."""


@dataclass(frozen=True, slots=True)
class AlertOnPage:
    """An alert with what pages say of its rule."""

    listed: ListedAlert
    parameters: Mapping[str, Any]
    """Those of its rule as it is now; empty without a rule."""
    built_in: bool
    """Whether its rule is the one that every tenant has."""
    rule_gone: bool
    """Whether its rule was deleted."""
    flapping: bool
    newest: Any
    """The newest value of its metric."""
    tags: Sequence[str]
    """Those of its device."""
    maintenance: ActiveWindow | None = None
    """The active window that covers it; None for a closed one."""

    @property
    def alert(self) -> Alert:
        """Return the alert."""
        return self.listed.alert

    @property
    def metric(self) -> str | None:
        """Return the name of the metric that it is about, if it is about one."""
        name = self.alert.details.get("metric")
        return name if isinstance(name, str) else None

    @property
    def takes_steps(self) -> bool:
        """Return whether people may act on it: it is not closed, and no other alert stands for it."""
        return self.alert.status is not Status.CLOSED and self.alert.inhibited_by is None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the page of one alert says besides the alert."""

    time_zone: str | None
    """That of its site, else of its tenant."""
    cause: str | None
    """The summary of the alert that stands for it."""
    similar: int
    """Other alerts about the same in the last 30 days."""
    previous_id: int | None
    previous_at: datetime | None
    previous_end: datetime | None
    inhibits: int
    """Alerts that it stands for."""
    latest: Mapping[str, Any] | None
    """The newest values of its device."""
    newest_at: datetime | None
    """The time of the newest reading of its device."""


async def read_alerts(connection: Connection[Any], ids: Sequence[int], tenant_id: str | None) -> list[AlertOnPage]:
    """Return the alerts of these ids that there are, in their order; for None of any tenant that is visible."""
    if not ids:
        return []
    cursor = await connection.execute(STATEMENTS["select_alerts_of_page"], {"ids": list(ids), "tenant": tenant_id})
    found = {row[0]: _on_page(row) for row in await cursor.fetchall()}
    return [found[alert_id] for alert_id in ids if alert_id in found]


async def read_alert(connection: Connection[Any], alert_id: int, tenant_id: str | None) -> AlertOnPage:
    """Return one alert. Raises NotFound."""
    return require(next(iter(await read_alerts(connection, [alert_id], tenant_id)), None), f"alert {alert_id}")


def in_windows(alerts: Iterable[AlertOnPage], platform: Platform) -> list[AlertOnPage]:
    """Return alerts with the maintenance windows that cover them now."""
    now, covering = platform.clock.settled(), platform.maintenance.covering
    return [
        one
        if one.alert.status is Status.CLOSED
        else replace(
            one,
            maintenance=covering(one.alert.tenant_id, one.alert.site_id, one.alert.device_id, one.tags, now),
        )
        for one in alerts
    ]


def scopes(platform: Platform, tenant_id: str | None) -> ActiveScopes:
    """Return what the active maintenance windows of a tenant cover, or of all tenants for None."""
    return platform.maintenance.active_scopes(tenant_id, platform.clock.settled())


async def read_metrics(connection: Connection[Any], alerts: Iterable[AlertOnPage]) -> dict[MetricKey, Metric]:
    """Return the metrics that alerts are about."""
    named: dict[str, dict[str, Any]] = {}
    for one in alerts:
        if one.metric is not None:
            named.setdefault(one.alert.tenant_id, {})[one.metric] = one.alert.details.get("value")
    found = {}
    for tenant_id, values in named.items():
        known = await read_named(connection, tenant_id, values)
        found.update({(tenant_id, name): metric for name, metric in known.items()})
    return found


async def read_named(connection: Connection[Any], tenant_id: str, values: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the metrics of a tenant by name; a value helps to guess those that nobody described."""
    known = await metrics.of_names(connection, tenant_id, values)
    return {name: described(name, known, value) for name, value in values.items()}


async def read_told(connection: Connection[Any], alerts: Iterable[AlertOnPage]) -> Mapping[int, Told]:
    """Return how many routes told of alerts, by id."""
    return await alert_notices.told_of(connection, [(one.alert.tenant_id, one.alert.alert_id) for one in alerts])


async def read_places(connection: Connection[Any], tenant_id: str | None) -> list[str]:
    """Return the ids of sites with alerts; empty: alerts of no site."""
    parameters = {"tenant": tenant_id, "newest": NEWEST_PLACES}
    return [
        site for (site,) in await (await connection.execute(STATEMENTS["list_alert_places"], parameters)).fetchall()
    ]


async def read_surroundings(connection: Connection[Any], alert: Alert, now: datetime) -> Surroundings:
    """Return what the page of an alert says besides it. Raises NotFound."""
    parameters = {"tenant": alert.tenant_id, "alert": alert.alert_id, "now": now}
    cursor = await connection.execute(STATEMENTS["select_alert_surroundings"], parameters)
    return Surroundings(*require(await cursor.fetchone(), f"alert {alert.alert_id}"))


async def read_inhibited(connection: Connection[Any], alert: Alert) -> list[tuple[int, str | None, str]]:
    """Return alerts that this one stands for: id, device and summary."""
    parameters = {"tenant": alert.tenant_id, "alert": alert.alert_id, "limit": INHIBITED_SHOWN}
    return list(await (await connection.execute(STATEMENTS["list_inhibited"], parameters)).fetchall())


def _on_page(row: tuple[Any, ...]) -> AlertOnPage:
    names = row[ALERT_COLUMNS : ALERT_COLUMNS + 4]
    parameters, built_in, gone, flapping, newest, tags = row[ALERT_COLUMNS + 4 :]
    listed = ListedAlert(alert_of(row[:ALERT_COLUMNS]), *names)
    return AlertOnPage(listed, parameters or {}, bool(built_in), bool(gone), bool(flapping), newest, tags)
